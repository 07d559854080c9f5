//! Steps: taken in the workspaces and in the model, and their outcomes compared.

use std::cell::RefCell;
use std::rc::Rc;

use ndarena::{
    Array, Error, EscapePolicy, Moved, Scope, SpillPolicy, Validity, set_current_workspace,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::elements::{DTYPES, encode, number, with_dtype, write};
use super::program::Step;
use super::{
    Born, Checked, Frame, Handle, Held, IDS, Root, Rooted, Target, World, is_borrowed,
    is_destroyed, is_scope, is_shape, is_unknown,
};

impl World {
    fn count_birth(&mut self, space: usize, bytes: usize) -> Born {
        let space = &mut self.spaces[space];
        let padded = space.padded(bytes);
        if space.in_use {
            space.requested += padded;
        }
        space.alive += padded;
        space.peak = space.peak.max(space.alive);
        space.now()
    }

    fn adopt(&mut self, array: Array, space: usize, numbers: Vec<u32>) {
        let dtype = array.dtype();
        let born = self.count_birth(space, numbers.len() * dtype.itemsize());
        let root = Root { space, born, dtype, numbers, leases: 0, overwritten: false };
        let root = Rc::new(RefCell::new(root));
        self.handles.push(Handle { array, root, start: 0 });
    }

    pub fn bury(&mut self, root: Rooted) {
        if let Some(root) = Rc::into_inner(root) {
            let root = root.into_inner();
            let space = &mut self.spaces[root.space];
            if root.born == space.now() && !space.destroyed {
                space.alive -= space.padded(root.numbers.len() * root.dtype.itemsize());
            }
        }
    }

    fn fresh(&mut self, n: usize) -> Vec<u32> {
        let first = self.next_number;
        let numbers: Vec<u32> = (first..).take(n).collect();
        self.next_number += u32::try_from(n).unwrap() + 1;
        numbers
    }

    pub fn push(&mut self, scope: Scope, space: Option<usize>, is_full: bool) {
        let number = self.next_frame;
        self.next_frame += 1;
        let previous = std::mem::replace(&mut self.current, space);
        self.frames.push(Frame { number, space, is_full, previous });
        self.scopes.push((scope, number));
    }

    pub fn enter(&mut self, i: usize) -> Result<bool, TestCaseError> {
        let entered = self.spaces[i].ws.notify_scope_entered();
        if self.spaces[i].destroyed {
            prop_assert!(is_destroyed(&entered.unwrap_err()));
            return Ok(true);
        }
        let (scope, is_full) = (entered.unwrap(), !self.spaces[i].open);
        if is_full {
            let current = self.current;
            let space = &mut self.spaces[i];
            space.generation += 1;
            space.open = true;
            space.parent = current;
            (space.requested, space.alive, space.peak) = (0, 0, 0);
        }
        self.push(scope, Some(i), is_full);
        Ok(false)
    }

    pub fn borrow(&mut self, i: usize) -> Result<bool, TestCaseError> {
        let borrowed = self.spaces[i].ws.notify_scope_borrowed();
        match (self.spaces[i].destroyed, self.spaces[i].open) {
            (true, _) => prop_assert!(is_destroyed(&borrowed.unwrap_err())),
            (_, false) => prop_assert!(is_scope(&borrowed.unwrap_err())),
            (_, true) => {
                self.push(borrowed.unwrap(), Some(i), false);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The innermost frame ends; the number of escapes if they are an error.
    pub fn pop(&mut self) -> Option<usize> {
        let frame = self.frames.pop().unwrap();
        self.current = frame.previous;
        let i = frame.space.filter(|&i| frame.is_full && !self.spaces[i].destroyed)?;
        let now = self.spaces[i].now();
        let escaped = self
            .roots()
            .iter()
            .filter(|r| {
                let r = r.borrow();
                r.space == i && r.born == now && r.leases > 0
            })
            .count();
        let space = &mut self.spaces[i];
        let escaped = if space.is_ring() { 0 } else { escaped };
        space.open = false;
        space.in_use = true;
        space.cycles += 1;
        space.escaped += escaped as u64;
        space.last = space.requested;
        space.largest = space.largest.max(space.requested);
        (space.requested, space.alive) = (0, 0);
        let raises = space.ws.configuration().policy_escape == EscapePolicy::Raise;
        Some(escaped).filter(|&n| raises && n > 0)
    }

    /// Whether a call that closes the frame ends as it should; the frame ends in the model too.
    fn expect_close(
        &mut self,
        number: usize,
        closed: Result<(), Error>,
    ) -> Result<bool, TestCaseError> {
        let innermost = self.frames.last().map(|f| f.number);
        if innermost == Some(number) {
            match self.pop() {
                None => prop_assert_eq!(closed, Ok(())),
                Some(n) => {
                    let told =
                        matches!(&closed, Err(Error::Escaped { arrays, .. }) if *arrays == n);
                    prop_assert!(told, "{:?} instead of {} escapes", closed, n);
                }
            }
            return Ok(false);
        }
        if self.frames.iter().any(|f| f.number == number) {
            prop_assert!(is_scope(&closed.unwrap_err()));
            return Ok(true);
        }
        prop_assert_eq!(closed, Ok(()), "closed already");
        Ok(true)
    }

    pub fn close_some(&mut self, i: usize) -> Result<bool, TestCaseError> {
        if self.scopes.is_empty() {
            return Ok(false);
        }
        let (scope, number) = &self.scopes[i % self.scopes.len()];
        let (closed, number) = (scope.close(), *number);
        self.expect_close(number, closed)
    }

    pub fn close_frame(&mut self, number: usize) -> Result<bool, TestCaseError> {
        let at = self.scopes.iter().position(|(_, n)| *n == number).expect("frames have objects");
        let closed = self.scopes[at].0.close();
        self.expect_close(number, closed)
    }

    pub fn drop_scope(&mut self, i: usize) {
        if self.scopes.is_empty() {
            return;
        }
        let (scope, number) = self.scopes.swap_remove(i % self.scopes.len());
        drop(scope);
        if let Some(at) = self.frames.iter().position(|f| f.number == number) {
            while self.frames.len() > at {
                self.pop();
            }
        }
    }

    pub fn notify_left(&mut self, i: usize) -> Result<bool, TestCaseError> {
        let left = self.spaces[i].ws.notify_scope_left();
        if let Some(frame) = self.frames.iter().rfind(|f| f.space == Some(i)) {
            return self.expect_close(frame.number, left);
        }
        prop_assert!(is_scope(&left.unwrap_err()));
        Ok(true)
    }

    pub fn set_current(&mut self, to: Option<usize>) -> Result<bool, TestCaseError> {
        let set = set_current_workspace(to.map(|i| &self.spaces[i].ws));
        if to.is_some_and(|i| self.spaces[i].destroyed) {
            prop_assert!(is_destroyed(&set.unwrap_err()));
            return Ok(true);
        }
        set.unwrap();
        self.current = to;
        Ok(false)
    }

    /// The error a request may meet in a workspace, or that it was served.
    fn expect_allocation(&self, i: usize, error: &Error) -> Checked {
        let may_be_full = self.spaces[i].ws.configuration().policy_spill == SpillPolicy::Fail;
        let expected = if self.spaces[i].destroyed {
            is_destroyed(error)
        } else if self.may_allocate(i) {
            may_be_full && matches!(error, Error::Full { .. })
        } else {
            is_scope(error)
        };
        prop_assert!(expected, "{error}");
        Ok(())
    }

    pub fn make(&mut self, i: usize, kind: usize, n: usize) -> Result<bool, TestCaseError> {
        let dtype = DTYPES[kind % DTYPES.len()];
        let zeroed = kind % 2 == 0;
        let shape = if n % 3 == 0 { vec![n / 3, 3] } else { vec![n] };
        let made = with_dtype!(dtype, T => {
            let ws = &self.spaces[i].ws;
            if zeroed { ws.zeros::<T>(&shape) } else { ws.empty::<T>(&shape) }
        });
        let array = match made {
            Ok(array) => array,
            Err(error) => {
                self.expect_allocation(i, &error)?;
                return Ok(true);
            }
        };
        prop_assert!(self.may_allocate(i) && !self.spaces[i].destroyed);
        let numbers = if zeroed { vec![0; n] } else { self.fresh(n) };
        if !zeroed {
            write(&array, &numbers).unwrap();
        }
        self.adopt(array, i, numbers);
        Ok(false)
    }

    pub fn destroy(&mut self, i: usize) {
        let space = &mut self.spaces[i];
        space.ws.destroy_workspace().unwrap();
        space.destroyed = true;
        space.open = false;
        space.alive = 0;
    }

    pub fn control(&mut self, step: Step) -> Result<bool, TestCaseError> {
        let (Step::Toggle(slot, _)
        | Step::Debug(slot, _)
        | Step::Initialize(slot)
        | Step::Reset(slot)
        | Step::Trim(slot)
        | Step::TurnBack(slot)) = step
        else {
            return Ok(false);
        };
        let i = self.slots[slot];
        let ws = self.spaces[i].ws.clone();
        let done = match step {
            Step::Toggle(_, on) => ws.toggle_workspace_use(on),
            Step::Debug(_, on) => ws.enable_debug(on),
            Step::Initialize(_) => ws.initialize_workspace(),
            Step::Reset(_) => ws.reset(),
            Step::TurnBack(_) => ws.turn_back(),
            _ => {
                ws.trim().unwrap();
                return Ok(false);
            }
        };
        if self.spaces[i].destroyed {
            prop_assert!(is_destroyed(&done.unwrap_err()));
            return Ok(true);
        }
        let refuses = match step {
            Step::Initialize(_) | Step::Reset(_) => self.alive(i) > 0,
            Step::TurnBack(_) => self.spaces[i].open,
            _ => false,
        };
        if refuses {
            prop_assert!(is_scope(&done.unwrap_err()));
            return Ok(true);
        }
        done.unwrap();
        if let Step::Toggle(_, on) = step {
            self.spaces[i].in_use = on;
        }
        Ok(false)
    }

    /// Steps that need an array.
    pub fn touch(&mut self, step: Step) -> Result<bool, TestCaseError> {
        let (Step::Clone(h)
        | Step::Reshape(h, _)
        | Step::Row(h, _)
        | Step::Dup(h)
        | Step::LeverageTo(h, ..)
        | Step::Leverage(h)
        | Step::LeverageOrDetach(h, _)
        | Step::Migrate(h, _)
        | Step::Write(h)
        | Step::Drop(h, _)
        | Step::Lease(h)) = step
        else {
            return Ok(false);
        };
        let h = h % self.handles.len();
        match step {
            Step::Clone(_) => {
                let Handle { array, root, start } = &self.handles[h];
                let clone = Handle { array: array.clone(), root: Rc::clone(root), start: *start };
                self.handles.push(clone);
                Ok(false)
            }
            Step::Drop(_, elsewhere) => {
                let Handle { array, root, .. } = self.handles.swap_remove(h);
                discard(array, elsewhere);
                self.bury(root);
                Ok(false)
            }
            Step::Reshape(..) | Step::Row(..) => self.view(h, step),
            Step::Write(_) => self.write(h),
            Step::Lease(_) => self.lease(h),
            _ => self.copy(h, step),
        }
    }

    fn view(&mut self, h: usize, step: Step) -> Result<bool, TestCaseError> {
        let Handle { array, root, start } = &self.handles[h];
        let size = array.size();
        let (made, fits, start) = match step {
            Step::Row(_, i) => {
                let rows = array.shape().first().copied().unwrap_or(0);
                let i = if i % 7 == 0 { i } else { i % rows.max(1) };
                let step = array.shape().iter().skip(1).product::<usize>();
                (array.row(i), i < rows, start + i * step)
            }
            Step::Reshape(_, fits) => {
                let shape = if fits { vec![1, size, 1] } else { vec![size + 1] };
                (array.reshape(&shape), fits, *start)
            }
            _ => return Ok(false),
        };
        let root = Rc::clone(root);
        if self.validity(&root.borrow()) != Validity::Valid {
            return self.expect_stale(&root, made.unwrap_err());
        }
        if !fits {
            prop_assert!(is_shape(&made.unwrap_err()));
            return Ok(true);
        }
        self.handles.push(Handle { array: made.unwrap(), root, start });
        Ok(false)
    }

    pub fn expect_stale(&self, root: &Rooted, error: Error) -> Result<bool, TestCaseError> {
        let expected = self.validity(&root.borrow());
        let Error::Stale { validity, facts } = error else {
            return Err(TestCaseError::fail(format!("{error} instead of {expected:?}")));
        };
        let space = &self.spaces[root.borrow().space];
        prop_assert_eq!(validity, expected);
        prop_assert_eq!(facts.array_generation, Some(root.borrow().born.generation));
        prop_assert_eq!(facts.workspace_generation, Some(space.generation));
        prop_assert_eq!(facts.workspace_id.as_deref(), Some(IDS[space.slot]));
        Ok(true)
    }

    fn write(&mut self, h: usize) -> Result<bool, TestCaseError> {
        let n = self.handles[h].array.size();
        let numbers = self.fresh(n);
        let Handle { array, root, start } = &self.handles[h];
        let written = write(array, &numbers);
        if self.validity(&root.borrow()) != Validity::Valid {
            return self.expect_stale(root, written.unwrap_err());
        }
        if root.borrow().leases > 0 {
            prop_assert!(is_borrowed(&written.unwrap_err()));
            return Ok(true);
        }
        written.unwrap();
        root.borrow_mut().numbers[*start..start + n].copy_from_slice(&numbers);
        Ok(false)
    }

    fn lease(&mut self, h: usize) -> Result<bool, TestCaseError> {
        let Handle { array, root, .. } = &self.handles[h];
        let leased = array.buffer().lease();
        if self.validity(&root.borrow()) != Validity::Valid {
            return self.expect_stale(root, leased.unwrap_err());
        }
        let lease = leased.unwrap();
        let root = Rc::clone(root);
        root.borrow_mut().leases += 1;
        let bytes = encode(root.borrow().dtype, &root.borrow().numbers);
        self.held.push(Held { lease, bytes, root });
        Ok(false)
    }

    /// Steps that copy: dup, leverage in its forms, migrate.
    fn copy(&mut self, h: usize, step: Step) -> Result<bool, TestCaseError> {
        let array = self.handles[h].array.clone();
        let root = Rc::clone(&self.handles[h].root);
        let home = root.borrow().space;
        let own = |i: usize| if i == home { Target::Itself } else { self.usable(i) };
        let registered = |slot: usize| {
            let i = self.slots[slot];
            Some(i).filter(|&i| !self.spaces[i].destroyed)
        };
        let to = match step {
            Step::Dup(_) | Step::Migrate(_, true) => {
                self.current.map_or(Target::Detached, Target::Space)
            }
            Step::Migrate(_, false) => self.current.map_or(Target::Itself, Target::Space),
            Step::Leverage(_) => {
                let parent = self.current.and_then(|i| self.spaces[i].parent);
                parent.map_or(Target::Detached, own)
            }
            Step::LeverageTo(_, slot, enforce) => match registered(slot) {
                Some(i) => own(i),
                None if enforce => Target::Refused(is_unknown),
                None => Target::Itself,
            },
            Step::LeverageOrDetach(_, slot) => {
                let open = registered(slot).filter(|&i| self.spaces[i].open);
                open.map_or(Target::Detached, own)
            }
            _ => return Ok(false),
        };
        let moved = with_dtype!(array.dtype(), T => {
            let plain = |moved: Moved<T>| match moved {
                Moved::Attached(array) => (Some(array), None),
                Moved::Detached(values) => (None, Some(number(&values))),
            };
            match step {
                Step::Dup(_) => array.dup::<T>().map(plain),
                Step::Migrate(_, detach) => array.migrate::<T>(detach).map(plain),
                Step::Leverage(_) => array.leverage::<T>().map(plain),
                Step::LeverageTo(_, slot, enforce) => {
                    array.leverage_to(IDS[slot], enforce).map(|array| (Some(array), None))
                }
                Step::LeverageOrDetach(_, slot) => {
                    array.leverage_or_detach::<T>(IDS[slot]).map(plain)
                }
                _ => return Ok(false),
            }
        });
        if self.validity(&root.borrow()) != Validity::Valid {
            return self.expect_stale(&root, moved.map(|_| ()).unwrap_err());
        }
        let start = self.handles[h].start;
        let numbers = root.borrow().numbers[start..start + array.size()].to_vec();
        match (to, moved) {
            (Target::Refused(expected), Err(error)) => {
                prop_assert!(expected(&error), "{error}");
                return Ok(true);
            }
            (Target::Space(i), Err(error)) => {
                self.expect_allocation(i, &error)?;
                return Ok(true);
            }
            (Target::Detached, Ok((None, Some(values)))) => {
                let wanted = encode(array.dtype(), &numbers);
                prop_assert_eq!(values, wanted);
            }
            (Target::Itself, Ok((Some(moved), None))) => {
                prop_assert!(moved.buffer().is(array.buffer()));
                self.handles.push(Handle { array: moved, root, start });
            }
            (Target::Space(i), Ok((Some(moved), None))) => {
                prop_assert!(moved.workspace() == &self.spaces[i].ws);
                prop_assert_eq!(moved.shape(), array.shape());
                self.adopt(moved, i, numbers);
            }
            (_, moved) => return Err(TestCaseError::fail(format!("{step:?} gave {moved:?}"))),
        }
        Ok(false)
    }
}

/// Drops here, or in a thread of its own.
pub fn discard<T: Send + 'static>(value: T, elsewhere: bool) {
    if elsewhere {
        std::thread::spawn(move || drop(value)).join().unwrap();
    }
}
