//! What others leave for a thread: scopes of its that ended in another thread, tasks that are over.

use std::ops::RangeInclusive;

use super::mailbox::Mailbox;
use super::tasks::TaskId;
use super::{Left, Thread};
use crate::block;
use crate::sync::{AtomicBool, Ordering};
use crate::workspace::Workspace;

#[derive(Debug)]
pub(crate) struct Inbox {
    pub(super) forks: u64,
    /// The thread is over; its scopes are closed.
    ended: AtomicBool,
    /// The thread is inside a scope.
    busy: AtomicBool,
    mail: Mailbox<Mail>,
}

#[derive(Debug)]
pub(super) enum Mail {
    /// The scope's `__exit__` ran over there.
    Abandoned(RangeInclusive<u64>),
    /// The innermost `with ws:` of this workspace ended over there.
    AbandonedBlock(Workspace, usize),
    /// The scope's object died over there.
    Lost(RangeInclusive<u64>),
    /// The task is over.
    TaskEnded(TaskId),
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            forks: block::forks(),
            ended: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            mail: Mailbox::new(),
        }
    }

    /// Whether the thread is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub(super) fn post(&self, mail: Mail) {
        self.mail.post(mail);
    }
}

impl Thread {
    /// Attends to what others left: silently, as nobody here asked.
    #[inline]
    pub(super) fn read_inbox(&mut self) {
        if self.inbox.mail.is_full() {
            self.read_mail();
        }
    }

    #[cold]
    fn read_mail(&mut self) {
        for letter in self.inbox.mail.take() {
            let mut left = Left::default();
            match letter {
                Mail::Abandoned(serials) => self.exit(&serials, &mut left),
                Mail::AbandonedBlock(workspace, place) => {
                    self.exit_block(&workspace, place, &mut left, &mut None);
                }
                Mail::Lost(serials) => self.lose(&serials),
                Mail::TaskEnded(task) => self.end_task(task),
            }
        }
    }

    /// Attends to scopes whose objects died in other threads.
    pub(super) fn read_losses(&mut self) {
        let losses = self.inbox.mail.take_if(|letter| matches!(letter, Mail::Lost(_)));
        for letter in losses {
            if let Mail::Lost(serials) = letter {
                self.lose(&serials);
            }
        }
    }
}
