//! What this process has approved a moment ago, for the browser that waits in it too.
//!
//! A phone's call and the browser's socket meet in one process as often as there are few of them: then
//! the record that the notification is about is here already, and reading it would be one more round
//! trip, a quarter of the way from the scan to the token (docs/capacity.md). The notification still
//! decides when; this only answers in Redis's place, and only once.
//!
//! Of approvals alone, for holders that know of none: whatever comes after an approval, no login goes
//! back from it. A store that forgot could bring one back, so nothing of before a disturbance counts.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{keys::LoginId, login::Login};

/// How old one may be: its notification comes within milliseconds, or to another process.
const LIFE: Duration = Duration::from_secs(1);
/// How many are kept for holders that have not asked yet; of those in other processes none will.
const MOST: usize = 256;
/// How long a holder waits for an answer that is under way: Redis sends it in the same moment as the
/// notification, so later than this its thread is busy, and the record can be had from Redis.
const PATIENCE: Duration = Duration::from_millis(20);

/// Approvals of this process.
#[derive(Default)]
pub(super) struct Approvals(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    of: HashMap<LoginId, Approval>,
    /// The order in which they were done. Each names one that is there, or was.
    done: VecDeque<(LoginId, Instant)>,
}

enum Approval {
    /// Redis has been asked; whom to tell.
    UnderWay(Option<oneshot::Sender<Box<Login>>>),
    /// It is approved since then.
    Done(Box<Login>, Instant),
}

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Redis is about to be asked to approve a login; `None` where it is being asked already, or just
    /// was.
    pub(super) fn begin(self: &Arc<Self>, id: LoginId) -> Option<UnderWay> {
        let mut recent = self.lock();
        if recent.of.contains_key(&id) {
            return None;
        }
        recent.of.insert(id, Approval::UnderWay(None));
        Some(UnderWay { approvals: self.clone(), id, is_over: false })
    }

    /// The record as it was approved, for a holder who was notified and knows of no approval yet.
    pub(super) async fn take(&self, id: LoginId) -> Option<Login> {
        let answer = {
            let mut recent = self.lock();
            match recent.of.get_mut(&id)? {
                Approval::UnderWay(Some(_)) => return None,
                Approval::UnderWay(tell) => {
                    let (told, answer) = oneshot::channel();
                    *tell = Some(told);
                    answer
                }
                Approval::Done(..) => {
                    let Some(Approval::Done(login, since)) = recent.of.remove(&id) else {
                        return None;
                    };
                    return (since.elapsed() < LIFE).then_some(*login);
                }
            }
        };
        let login = tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()?;
        Some(*login)
    }

    /// Redis may have forgotten what was approved.
    pub(super) fn forget_all(&self) {
        *self.lock() = Recent::default();
    }
}

/// Redis has been asked to approve a login. Forgotten if dropped: then nobody knows what came of it.
pub(super) struct UnderWay {
    approvals: Arc<Approvals>,
    id: LoginId,
    is_over: bool,
}

impl UnderWay {
    /// It is approved, and this is its record.
    pub(super) fn done(mut self, login: Login) {
        self.is_over = true;
        let mut recent = self.approvals.lock();
        // Not there: forgotten meanwhile.
        let Some(Approval::UnderWay(tell)) = recent.of.remove(&self.id) else { return };
        if let Some(tell) = tell {
            // A holder that has lost its patience reads the record, and must not find it here later.
            let _ = tell.send(Box::new(login));
            return;
        }
        let now = Instant::now();
        recent.of.insert(self.id, Approval::Done(Box::new(login), now));
        recent.done.push_back((self.id, now));
        while let Some((oldest, since)) = recent.done.front().copied()
            && (recent.done.len() > MOST || now - since >= LIFE)
        {
            recent.done.pop_front();
            if matches!(recent.of.get(&oldest), Some(Approval::Done(_, at)) if *at == since) {
                recent.of.remove(&oldest);
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_over {
            let mut recent = self.approvals.lock();
            if matches!(recent.of.get(&self.id), Some(Approval::UnderWay(_))) {
                recent.of.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        keys::Hash,
        login::{Codes, Protocol},
    };

    fn id(number: u16) -> LoginId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        LoginId::from_bytes(bytes)
    }

    fn login(epoch: u32) -> Login {
        let zero = Timestamp::default();
        let codes = Codes { start: zero, rotate: None, first: 1, hashes: Vec::new() };
        Login::new(epoch, Protocol::Json, Hash::from_bytes([0; 16]), codes, zero, zero)
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_the_answer_has_it_once() {
        let approvals = Arc::new(Approvals::default());
        approvals.begin(id(1)).unwrap().done(login(7));
        assert_eq!(approvals.take(id(1)).await, Some(login(7)));
        assert_eq!(approvals.take(id(1)).await, None);
        assert_eq!(approvals.take(id(2)).await, None, "nobody asked for this one");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_before_the_answer_is_told_and_nobody_after() {
        let approvals = Arc::new(Approvals::default());
        let under_way = approvals.begin(id(1)).unwrap();
        assert!(approvals.begin(id(1)).is_none(), "one at a time");
        let answered = async {
            tokio::time::sleep(PATIENCE / 2).await;
            under_way.done(login(7));
        };
        let (taken, ()) = tokio::join!(approvals.take(id(1)), answered);
        assert_eq!(taken, Some(login(7)));
        assert_eq!(approvals.take(id(1)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_late_is_for_nobody() {
        let approvals = Arc::new(Approvals::default());
        let under_way = approvals.begin(id(1)).unwrap();
        assert_eq!(approvals.take(id(1)).await, None, "patience is lost");
        under_way.done(login(7));
        assert_eq!(approvals.take(id(1)).await, None, "the record was read meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_sends_whoever_waits_to_the_record() {
        let approvals = Arc::new(Approvals::default());
        let under_way = approvals.begin(id(1)).unwrap();
        let began = Instant::now();
        let (taken, ()) = tokio::join!(approvals.take(id(1)), async { drop(under_way) });
        assert_eq!((taken, began.elapsed()), (None, Duration::ZERO), "at once");
        assert!(approvals.begin(id(1)).is_some(), "and the next phone may try");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_or_too_much_or_of_before_a_disturbance_is_gone() {
        let approvals = Arc::new(Approvals::default());
        approvals.begin(id(1)).unwrap().done(login(7));
        tokio::time::sleep(LIFE).await;
        assert_eq!(approvals.take(id(1)).await, None, "old");

        for number in 0..=MOST as u16 {
            approvals.begin(id(number)).unwrap().done(login(7));
        }
        assert_eq!(approvals.take(id(0)).await, None, "one too many");
        assert_eq!(approvals.take(id(1)).await, Some(login(7)));
        tokio::time::sleep(LIFE).await;
        approvals.begin(id(1)).unwrap().done(login(7));
        assert_eq!(approvals.lock().of.len(), 1, "the old ones went");

        let under_way = approvals.begin(id(2)).unwrap();
        approvals.forget_all();
        under_way.done(login(7));
        for number in [1, 2] {
            assert_eq!(approvals.take(id(number)).await, None, "forgotten");
        }
    }
}
