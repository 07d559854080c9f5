//! Letters from other threads. Whoever looks into an empty box reads one flag.

use crate::latch::Latch;
use crate::sync::{AtomicBool, Ordering};

#[derive(Debug)]
pub(super) struct Mailbox<T> {
    /// There may be letters: set after one was put in, cleared before they are taken out.
    is_full: AtomicBool,
    letters: Latch<Vec<T>>,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self { is_full: AtomicBool::new(false), letters: Latch::new(Vec::new()) }
    }

    pub(super) fn post(&self, letter: T) {
        self.letters.lock().push(letter);
        self.is_full.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::SeqCst)
    }

    /// All letters, in their order.
    pub(super) fn take(&self) -> Vec<T> {
        self.is_full.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.letters.lock())
    }

    /// Those of one kind; the others stay, before whatever comes in.
    pub(super) fn take_if(&self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut letters = self.letters.lock();
        let (wanted, rest) = std::mem::take(&mut *letters).into_iter().partition(is_wanted);
        *letters = rest;
        wanted
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Another thread posts while the owner takes one kind, and then all: no letter is lost.
    #[test]
    fn loom_no_letter_is_lost() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            mailbox.post(1);
            let poster = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    mailbox.post(2);
                    mailbox.post(3);
                })
            };
            let mut taken = mailbox.take_if(|letter| letter % 2 == 1);
            if mailbox.is_full() {
                taken.extend(mailbox.take());
            }
            poster.join().unwrap();
            if mailbox.is_full() {
                taken.extend(mailbox.take());
            }
            taken.sort_unstable();
            assert_eq!(taken, [1, 2, 3]);
        });
    }
}
