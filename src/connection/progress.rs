//! How far a connection has come, and until when it must come further. No I/O, no clock.

use std::{sync::LazyLock, time::Duration};

use memchr::memmem::Finder;
use tokio::time::Instant;

use crate::metrics::ConnectionState;

/// The longest request head, in bytes: an app's JWT and a browser's cookies fit in.
pub const MAX_HEAD: usize = 16 * 1024;
/// What is read of a longer one: most of those end here, and are refused under the name of their path.
const MAX_READ: usize = MAX_HEAD + 4 * 1024;
/// How long a head may take from its first byte on (spec 2.3).
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may be silent between two requests (spec 2.3).
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long an answer may take to be written. The largest is the page of the API, 130 KB.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what is written for it.
const STALL_TIME: Duration = Duration::from_secs(10);
/// How long a client may go on sending after the last answer. Its bytes are dropped; ending at once
/// would send a reset, and that can destroy the answer (RFC 9112, 9.6).
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// What may be read beyond a request that is still under way: further requests, or the body.
const MAX_BEYOND: u64 = 16 * 1024;
/// The same where a body is owed, of which 8 KiB are read at most.
const MAX_BEYOND_WITH_BODY: u64 = MAX_BEYOND + 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head is being read.
    Head,
    /// A request is under way.
    Request,
    /// Its answer is being written; `stream`: it is still being made.
    Answer { stream: bool },
    /// Between two requests.
    Idle,
    /// The last answer is out: what comes is dropped until the client closes.
    Closing,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, or what cannot be told.
    Chunked,
}

/// What a read may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Read.
    Go,
    /// The bytes so far are looked at first: they may be a whole head.
    Yield,
    /// Not before the request under way is answered.
    Pause,
    /// What comes is dropped.
    Drop,
    /// The head is too large.
    TooLarge,
    /// The connection has ended.
    Over,
}

/// Why a connection's time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// In the middle of a head.
    SlowHead,
    /// Between two requests.
    Silent,
    /// The client does not take its answer.
    SlowReader,
    /// The client did not close after the last answer.
    Closed,
}

#[derive(Debug)]
pub(super) struct Progress {
    phase: Phase,
    /// When the phase must be over; `None`: who serves the request bounds it.
    end: Option<Instant>,
    /// Until when the client must take something of what waits to be written.
    stalled: Option<Instant>,
    /// Bytes of the head so far, and of what came with it.
    head: usize,
    /// The decoder has seen all of an overlong head.
    yielded: bool,
    /// Bytes after the head; `None`: unknown, since the head's end was not seen.
    beyond: Option<u64>,
    /// Bytes read behind the head; more than that is not kept.
    since: u64,
    body: Body,
    body_unread: bool,
    /// The beginning of a further request may have been read.
    leftover: bool,
    /// Nothing that follows is answered.
    closes: bool,
    over: bool,
}

impl Progress {
    /// A connection whose first head begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Head,
            end: Some(now + HEAD_TIME),
            stalled: None,
            head: 0,
            yielded: false,
            beyond: None,
            since: 0,
            body: Body::None,
            body_unread: false,
            leftover: false,
            closes: false,
            over: false,
        }
    }

    pub(super) fn state(&self) -> ConnectionState {
        match self.phase {
            Phase::Head => ConnectionState::Head,
            Phase::Request | Phase::Answer { .. } => ConnectionState::Request,
            Phase::Idle => ConnectionState::Idle,
            Phase::Closing => ConnectionState::Closing,
        }
    }

    /// Until when something must happen.
    pub(super) fn end(&self) -> Option<Instant> {
        match (self.end, self.stalled) {
            (Some(end), Some(stalled)) => Some(end.min(stalled)),
            (end, stalled) => end.or(stalled),
        }
    }

    /// Whether a request is under way, or its answer.
    pub(super) fn serves(&self) -> bool {
        matches!(self.phase, Phase::Request | Phase::Answer { .. })
    }

    /// What a read may do now.
    pub(super) fn reading(&mut self) -> Reading {
        if self.over {
            return Reading::Over;
        }
        match self.phase {
            Phase::Closing => Reading::Drop,
            _ if self.closes && self.serves() => Reading::Drop,
            Phase::Head if self.head > MAX_READ => {
                if std::mem::replace(&mut self.yielded, true) {
                    self.over = true;
                    Reading::TooLarge
                } else {
                    Reading::Yield
                }
            }
            Phase::Request | Phase::Answer { .. } => {
                let most = if self.body_unread { MAX_BEYOND_WITH_BODY } else { MAX_BEYOND };
                if self.since > most { Reading::Pause } else { Reading::Go }
            }
            Phase::Head | Phase::Idle => Reading::Go,
        }
    }

    /// These bytes have come.
    pub(super) fn read(&mut self, bytes: &[u8], now: impl FnOnce() -> Instant) {
        static END_OF_HEAD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
        let length = bytes.len() as u64;
        if self.phase == Phase::Idle {
            let now = now();
            let end = now + HEAD_TIME;
            // A beginning that came before has had a part of its time already.
            let end = self.end.filter(|_| self.leftover).map_or(end, |first| first.min(end));
            *self = Self { closes: self.closes, stalled: self.stalled, ..Self::new(now) };
            self.end = Some(end);
        }
        match (self.phase, &mut self.beyond) {
            (Phase::Head, beyond) => {
                self.head += bytes.len();
                *beyond = match beyond {
                    Some(before) => Some(*before + length),
                    None => END_OF_HEAD.find(bytes).map(|at| length - at as u64 - 4),
                };
            }
            (_, beyond) => {
                *beyond = beyond.map(|before| before + length);
                self.since += length;
            }
        }
    }

    /// A head is complete and its request begins. `false`: nothing is served any more.
    pub(super) fn request(&mut self, body: Body) -> bool {
        if self.closes {
            return false;
        }
        if self.phase == Phase::Head {
            self.since = self.beyond.unwrap_or(self.head as u64);
        } else {
            // It came behind another one: which bytes are its own cannot be told.
            self.beyond = None;
        }
        (self.phase, self.end) = (Phase::Request, None);
        (self.head, self.yielded) = (0, false);
        (self.body, self.body_unread) = (body, body != Body::None);
        true
    }

    pub(super) fn body_was_read(&mut self) {
        self.body_unread = false;
    }

    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    pub(super) fn close_after_answer(&mut self) {
        self.closes = true;
    }

    /// The handler has answered; `stream`: and goes on. Gives whether the connection closes.
    pub(super) fn answered(&mut self, stream: bool, now: Instant) -> bool {
        // All of it has come: what follows is a request again, whatever the handler made of it.
        let is_whole = matches!(
            (self.beyond, self.body),
            (Some(beyond), Body::Length(length)) if beyond >= length
        );
        self.closes |= self.body_unread && !is_whole;
        self.leftover = match (self.beyond, self.body) {
            (Some(beyond), Body::None) => beyond > 0,
            (Some(beyond), Body::Length(length)) => beyond > length,
            _ => true,
        };
        self.phase = Phase::Answer { stream };
        self.end = (!stream).then(|| now + ANSWER_TIME);
        self.closes
    }

    /// A stream has said all it had to say.
    pub(super) fn stream_ended(&mut self, now: Instant) {
        if self.phase == (Phase::Answer { stream: true }) {
            (self.phase, self.end) = (Phase::Answer { stream: false }, Some(now + ANSWER_TIME));
        }
    }

    /// Some of what was to be written is.
    pub(super) fn wrote(&mut self) {
        self.stalled = None;
    }

    /// The client takes nothing at the moment.
    pub(super) fn is_stalled(&mut self, now: Instant) {
        self.stalled.get_or_insert(now + STALL_TIME);
    }

    /// Everything that was to be written is. Gives whether our side is to be closed.
    pub(super) fn flushed(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.phase != (Phase::Answer { stream: false }) {
            return false;
        }
        (self.phase, self.end) = if self.closes {
            (Phase::Closing, Some(now() + CLOSE_TIME))
        } else {
            (Phase::Idle, Some(now() + if self.leftover { HEAD_TIME } else { KEEP_ALIVE }))
        };
        self.closes
    }

    /// The end has come.
    pub(super) fn expire(&mut self) -> Ended {
        self.over = true;
        match self.phase {
            _ if self.stalled.is_some_and(|stalled| Some(stalled) == self.end()) => {
                Ended::SlowReader
            }
            Phase::Head => Ended::SlowHead,
            Phase::Idle => Ended::Silent,
            Phase::Request | Phase::Answer { .. } => Ended::SlowReader,
            Phase::Closing => Ended::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A connection whose first request, with this body, has been answered in full.
    fn answered(begin: Instant, came: &[u8], body: Body) -> Progress {
        let mut progress = Progress::new(begin);
        progress.read(came, || begin);
        assert!(progress.request(body));
        progress.body_was_read();
        assert!(!progress.answered(false, begin));
        assert!(!progress.flushed(|| begin));
        progress
    }

    #[test]
    fn every_head_has_five_seconds_from_its_first_byte() {
        let begin = Instant::now();
        let mut progress = Progress::new(begin);
        assert_eq!(progress.end(), Some(begin + seconds(5)));
        progress.read(b"GET", || begin + seconds(4));
        assert_eq!(progress.end(), Some(begin + seconds(5)), "the first byte counts");
        let mut progress = answered(begin, GET, Body::None);
        assert_eq!(progress.end(), Some(begin + seconds(10)), "silence");
        progress.read(b"G", || begin + seconds(9));
        assert_eq!(progress.end(), Some(begin + seconds(14)), "it has its own time");
        progress.read(b"E", || begin + seconds(13));
        assert_eq!(progress.end(), Some(begin + seconds(14)));
        assert_eq!(progress.expire(), Ended::SlowHead);
        assert_eq!(progress.reading(), Reading::Over);
    }

    #[test]
    fn a_head_that_has_begun_behind_another_has_five_seconds_as_well() {
        let begin = Instant::now();
        for (came, body, leftover) in [
            (GET.to_vec(), Body::None, false),
            ([GET, b"GET /"].concat(), Body::None, true),
            ([GET, b"abc"].concat(), Body::Length(3), false),
            ([GET, b"abcGET"].concat(), Body::Length(3), true),
            // What cannot be told is taken for a beginning.
            ([GET, b"0\r\n\r\n"].concat(), Body::Chunked, true),
            (b"GET / HTTP/1.1\nHost: x\n\n".to_vec(), Body::None, true),
        ] {
            let mut progress = answered(begin, &came, body);
            let end = begin + seconds(if leftover { 5 } else { 10 });
            assert_eq!(progress.end(), Some(end), "{came:?}");
            progress.read(b"x", || begin + seconds(4));
            let end = begin + seconds(if leftover { 5 } else { 9 });
            assert_eq!(progress.end(), Some(end), "{came:?}");
        }
        // Of two requests that came together, the second one's end cannot be told.
        let mut progress = Progress::new(begin);
        progress.read(&GET.repeat(2), || begin);
        for _ in 0..2 {
            assert!(progress.request(Body::None));
            progress.answered(false, begin);
        }
        progress.flushed(|| begin);
        assert_eq!(progress.end(), Some(begin + seconds(5)));
    }

    #[test]
    fn a_request_has_no_end_of_its_own_and_its_answer_has() {
        let begin = Instant::now();
        let mut progress = Progress::new(begin);
        progress.read(GET, || begin);
        progress.request(Body::None);
        assert_eq!(progress.end(), None, "who serves it bounds it");
        progress.answered(true, begin);
        assert!(!progress.flushed(|| begin), "a stream goes on");
        assert_eq!(progress.end(), None);
        progress.stream_ended(begin);
        assert_eq!(progress.end(), Some(begin + seconds(30)));
        progress.is_stalled(begin);
        progress.is_stalled(begin + seconds(3));
        assert_eq!(progress.end(), Some(begin + seconds(10)), "from when it stalled");
        progress.wrote();
        assert_eq!(progress.end(), Some(begin + seconds(30)));
        progress.is_stalled(begin);
        assert_eq!(progress.expire(), Ended::SlowReader);
    }

    #[test]
    fn an_unread_body_closes_and_nothing_behind_it_is_served() {
        let begin = Instant::now();
        for body in [Body::Length(1), Body::Chunked] {
            let mut progress = Progress::new(begin);
            progress.read(GET, || begin);
            assert!(progress.request(body));
            assert_eq!(progress.reading(), Reading::Go);
            assert!(progress.answered(false, begin), "it says so");
            assert_eq!(progress.reading(), Reading::Drop);
            assert!(!progress.request(Body::None));
            assert!(progress.flushed(|| begin), "our side is closed");
            assert_eq!(progress.end(), Some(begin + seconds(2)));
            progress.read(b"more", || begin);
            assert_eq!((progress.reading(), progress.expire()), (Reading::Drop, Ended::Closed));
        }
    }

    #[test]
    fn a_body_that_has_come_whole_closes_nothing_though_nobody_reads_it() {
        let begin = Instant::now();
        for (came, closes) in [(&b"abc"[..], false), (b"abcGET", false), (b"ab", true)] {
            let mut progress = Progress::new(begin);
            progress.read(GET, || begin);
            assert!(progress.request(Body::Length(3)));
            progress.read(came, || begin);
            assert_eq!(progress.answered(false, begin), closes, "{came:?}");
        }
    }

    #[test]
    fn what_comes_behind_a_request_is_bounded_whether_it_came_with_it_or_later() {
        let begin = Instant::now();
        let behind = vec![b'x'; MAX_BEYOND as usize + 1];
        let mut progress = Progress::new(begin);
        progress.read(&[GET, &behind].concat(), || begin);
        progress.request(Body::None);
        assert_eq!(progress.reading(), Reading::Pause);
        progress.answered(false, begin);
        progress.flushed(|| begin);
        assert_eq!(progress.reading(), Reading::Go, "the next head may be among it");
        let mut progress = Progress::new(begin);
        progress.read(GET, || begin);
        progress.request(Body::Length(8192));
        progress.read(&behind, || begin);
        assert_eq!(progress.reading(), Reading::Go, "a body is owed");
        progress.body_was_read();
        assert_eq!(progress.reading(), Reading::Pause);
    }

    #[test]
    fn a_head_that_is_too_large_is_looked_at_once_before_it_is_cut() {
        let begin = Instant::now();
        let mut progress = Progress::new(begin);
        progress.read(&vec![b'x'; MAX_READ], || begin);
        assert_eq!(progress.reading(), Reading::Go);
        progress.read(b"x", || begin);
        assert_eq!(progress.reading(), Reading::Yield);
        assert_eq!(progress.reading(), Reading::TooLarge);
        assert_eq!(progress.reading(), Reading::Over);
    }
}
