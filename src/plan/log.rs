//! What happened in a cycle: requests and deaths in their order.

use super::MAX_REQUESTS;

const ALIVE: u64 = u64::MAX;
/// No request.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Request {
    len: u64,
    /// How many requests were made before its death, and in the lower half how many died before it;
    /// else [`ALIVE`].
    death: u64,
}

/// A request in the time of requests: from its own number to that of the first one after its death.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) len: u64,
    birth: u32,
    death: u32,
}

impl Life {
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.birth < other.death && other.birth < self.death
    }

    pub(super) fn lifetime(&self) -> u128 {
        u128::from(self.death - self.birth)
    }
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The i-th request was made.
    Birth(u32),
    /// Its memory was given back.
    Death(u32),
}

/// Requests and deaths of the running cycle in their order, up to [`MAX_REQUESTS`].
#[derive(Clone, Debug, Default)]
pub struct Log {
    requests: Vec<Request>,
    deaths: usize,
}

impl Log {
    /// Forgets the cycle.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.deaths = 0;
    }

    /// Requests in the log.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Requests that fit without asking the heap.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.requests.capacity()
    }

    /// True when no further request is taken.
    pub fn is_full(&self) -> bool {
        self.requests.len() == MAX_REQUESTS
    }

    /// Notes a request.
    pub fn push(&mut self, len: u64) {
        debug_assert!(!self.is_full());
        self.requests.push(Request { len, death: ALIVE });
    }

    /// Takes the last request back, as if it had not been made.
    pub fn pop(&mut self) {
        self.requests.pop();
    }

    /// Notes the death of the i-th request; false if it is not in the log.
    pub fn end(&mut self, index: usize) -> bool {
        let made = self.requests.len();
        let Some(request) = self.requests.get_mut(index) else {
            return false;
        };
        debug_assert!(request.death == ALIVE, "a span dies once");
        request.death = pair(made, self.deaths);
        self.deaths += 1;
        true
    }

    /// Notes the deaths of all that live.
    pub fn end_all(&mut self) {
        for index in 0..self.len() {
            if self.is_alive(index) {
                self.end(index);
            }
        }
    }

    /// True until the death of the i-th request.
    pub fn is_alive(&self, index: usize) -> bool {
        self.requests[index].death == ALIVE
    }

    /// Length of the i-th request.
    pub fn request_len(&self, index: usize) -> u64 {
        self.requests[index].len
    }

    /// The living, oldest first.
    pub fn alive(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).take(self.len()).filter(|&index| self.is_alive(index as usize))
    }

    /// Most bytes alive at once.
    pub fn peak(&self) -> u64 {
        let (mut alive, mut peak) = (0, 0);
        let mut events = Vec::new();
        self.events(&mut events);
        for event in events {
            match event {
                Event::Birth(index) => alive += self.request_len(index as usize),
                Event::Death(index) => alive -= self.request_len(index as usize),
            }
            peak = peak.max(alive);
        }
        peak
    }

    /// Writes the cycle's events in their order.
    pub fn events(&self, into: &mut Vec<Event>) {
        into.clear();
        into.resize(self.len() + self.deaths, Event::Birth(NOBODY));
        for (index, request) in (0..).zip(&self.requests) {
            if request.death != ALIVE {
                let (made, died) = halves(request.death);
                into[made as usize + died as usize] = Event::Death(index);
            }
        }
        let births = into.iter_mut().filter(|event| **event == Event::Birth(NOBODY));
        for (index, event) in (0..).zip(births) {
            *event = Event::Birth(index);
        }
    }

    /// Equal for equal cycles: the same lengths, the same order of births and deaths.
    pub fn hash(&self) -> u64 {
        // A request is mixed by itself first, so that those to come need not wait for it.
        let mixed = |hash, request: &Request| mix(hash, mix(request.len, request.death));
        self.requests.iter().fold(0, mixed)
    }

    /// The deaths in their order, each with the number of requests made before it.
    pub(super) fn deaths(&self) -> Vec<u64> {
        let mut deaths = vec![0; self.deaths];
        for (index, request) in self.requests.iter().enumerate() {
            if request.death != ALIVE {
                let (made, died) = halves(request.death);
                deaths[died as usize] = pair(made as usize, index);
            }
        }
        deaths
    }

    pub(super) fn lives(&self) -> Vec<Life> {
        let end = narrow(self.len());
        let life = |(birth, request): (u32, &Request)| Life {
            len: request.len,
            birth,
            death: if request.death == ALIVE { end } else { halves(request.death).0 },
        };
        (0..).zip(&self.requests).map(life).collect()
    }
}

/// Two small numbers in one word.
#[inline]
fn pair(upper: usize, lower: usize) -> u64 {
    (upper as u64) << 32 | lower as u64
}

pub(super) fn halves(word: u64) -> (u32, u32) {
    let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(word >> 32), half(word))
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
