//! Refusals on demand: the system, or an arena, says no when a test wants it to.
//!
//! Off, it costs a look at one number per request. On, it counts the requests of all threads.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::lock;

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// Blocks cannot be had: arenas, spills, pins, captured memory.
    System,
    /// A workspace serves no request, whether it has room or not.
    Arena,
    /// Scopes raise: before they are entered, or when they are left.
    Scope,
}

/// Which requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// None, and nothing is counted.
    None,
    /// The n-th and all behind it: whoever tries again is refused again.
    From(u64),
    /// The n-th alone.
    Once(u64),
    /// Every n-th.
    Every(u64),
}

/// What came of it since it was switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Requests that were made.
    pub asked: u64,
    /// Those of them that were refused.
    pub refused: u64,
}

#[derive(Debug)]
struct Fault {
    is_on: AtomicBool,
    books: Mutex<(Refusals, Refused)>,
}

static SYSTEM: Fault = Fault::new();
static ARENA: Fault = Fault::new();
static SCOPE: Fault = Fault::new();

/// How often refusals were wished for.
static WISHES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The wish by which an arena refused this thread something, until it is told.
    static REFUSED: Cell<u64> = const { Cell::new(0) };
}

impl Fault {
    const fn new() -> Self {
        let books = (Refusals::None, Refused { asked: 0, refused: 0 });
        Self { is_on: AtomicBool::new(false), books: Mutex::new(books) }
    }

    #[cold]
    #[inline(never)]
    fn strikes(&self, of: Refuser) -> bool {
        let (refusals, count) = &mut *lock(&self.books);
        count.asked += 1;
        let struck = match *refusals {
            Refusals::None => false,
            Refusals::From(n) => count.asked >= n,
            Refusals::Once(n) => count.asked == n,
            Refusals::Every(n) => n > 0 && count.asked % n == 0,
        };
        count.refused += u64::from(struck);
        if struck && of == Refuser::Arena {
            // A thread that is at its very end is not told.
            let _ = REFUSED.try_with(|wish| wish.set(WISHES.load(Ordering::SeqCst)));
        }
        struck
    }
}

fn fault(of: Refuser) -> &'static Fault {
    match of {
        Refuser::System => &SYSTEM,
        Refuser::Arena => &ARENA,
        Refuser::Scope => &SCOPE,
    }
}

/// From now on these requests are refused; what came of the last such wish.
pub fn refuse(of: Refuser, refusals: Refusals) -> Refused {
    let fault = fault(of);
    let mut books = lock(&fault.books);
    if refusals != Refusals::None {
        WISHES.fetch_add(1, Ordering::SeqCst);
    }
    fault.is_on.store(refusals != Refusals::None, Ordering::SeqCst);
    std::mem::replace(&mut *books, (refusals, Refused::default())).1
}

/// Whether this request is to be refused.
#[inline]
pub(crate) fn refuses(of: Refuser) -> bool {
    let fault = fault(of);
    fault.is_on.load(Ordering::Relaxed) && fault.strikes(of)
}

/// Whether any are refused.
#[cfg(feature = "python")]
#[inline]
pub(crate) fn is_on(of: Refuser) -> bool {
    fault(of).is_on.load(Ordering::Relaxed)
}

/// Whether an arena refused the calling thread something by the last wish; true once.
#[cfg(feature = "python")]
pub(crate) fn was_refused() -> bool {
    let wish = REFUSED.try_with(Cell::take).unwrap_or_default();
    wish != 0 && wish == WISHES.load(Ordering::SeqCst)
}
