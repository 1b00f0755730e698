//! Hedged reads: asked over one connection that is held, and once more over a new one where that stays
//! silent. The first answer wins; the other attempt is dropped whole, and its connection with it.
//!
//! A connection may be dead without a word, so waiting for it proves nothing. A server that is merely
//! slow is not asked twice for long: each time that the first attempt wins after all, the next one is
//! waited for twice as long.
//!
//! **Invariant:** an answer comes back with what was noted before that very attempt was asked.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::StoreError;
use super::error::may_be_the_connection;
use super::lendable::Lendable;

/// One connection, and how long an answer over it is waited for before it is asked for again.
pub(super) struct Hedged<S> {
    held: Arc<Lendable<S>>,
    least: Duration,
    most: Duration,
    patience: Duration,
}

/// An answer, and whether the connection that was held had to be given up for it.
pub(super) struct HedgedAnswer<T> {
    pub(super) answer: T,
    pub(super) held_one_is_dead: bool,
}

impl<S> Hedged<S> {
    /// Asks again after `least` at first, and never later than after `most`.
    pub(super) fn new(held: Arc<Lendable<S>>, least: Duration, most: Duration) -> Self {
        Self { held, least, most, patience: least }
    }

    /// Whether a connection is held, and so may turn out to be dead.
    pub(super) fn is_connected(&self) -> bool {
        self.held.is_there()
    }

    /// The connection that is held, for upkeep between two questions.
    pub(super) fn held(&self) -> &Arc<Lendable<S>> {
        &self.held
    }

    /// Asks over the connection that is held, if there is one, and over a new one where that breaks or
    /// is silent. `ask` opens one if it is given none. The one that answered is held from then on;
    /// dropped before it has ended, this leaves none.
    pub(super) async fn ask<T, F>(
        &mut self,
        ask: impl Fn(Option<S>) -> F,
    ) -> Result<HedgedAnswer<T>, StoreError>
    where
        F: Future<Output = Result<(S, T), StoreError>>,
    {
        let (held, began) = (Arc::clone(&self.held), Instant::now());
        if !held.is_there() {
            // One attempt alone: a server that many nodes come to at once must not get two from each.
            held.is_coming();
            let outcome = ask(None).await;
            // What it takes to open it does not tell how quickly it answers.
            return self.hold(outcome, false, Instant::now());
        }
        // One that is lent comes back in a moment, or is as good as silent.
        let mut first = pin!(async {
            match held.take().await {
                Some(session) => ask(Some(session)).await,
                None => Err(StoreError::Unreachable { why: "it broke while it was lent".into() }),
            }
        });
        let (outcome, first_lost) = match timeout(self.patience, &mut first).await {
            Ok(Err(error)) if may_be_the_connection(&error) => (ask(None).await, true),
            Ok(outcome) => {
                self.patience = self.least;
                (outcome, false)
            }
            Err(_) => match select(first, pin!(ask(None))).await {
                Either::Left((Err(error), second)) if may_be_the_connection(&error) => {
                    (second.await, true)
                }
                // A server that lets nobody in may answer those that it has.
                Either::Right((Err(_), first)) => (self.note_slow(first.await), false),
                Either::Left((outcome, _)) => (self.note_slow(outcome), false),
                Either::Right((outcome, _)) => (outcome, true),
            },
        };
        self.hold(outcome, first_lost, began)
    }

    fn hold<T>(
        &self,
        outcome: Result<(S, T), StoreError>,
        held_one_is_dead: bool,
        began: Instant,
    ) -> Result<HedgedAnswer<T>, StoreError> {
        let (session, outcome) = match outcome {
            Ok((session, answer)) => (Some(session), Ok(answer)),
            Err(error) => (None, Err(error)),
        };
        match &outcome {
            // It is tried again in a moment, and those who can wait for it do.
            Err(StoreError::Timeout { .. }) if !self.held.is_there() => self.held.is_coming(),
            _ => self.held.put(session, began.elapsed()),
        }
        outcome.map(|answer| HedgedAnswer { answer, held_one_is_dead })
    }

    fn note_slow<T>(&mut self, outcome: T) -> T {
        self.patience = (self.patience * 2).min(self.most);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::sleep;

    use super::*;

    /// Connections by number, each with what becomes of a question over it.
    struct Server {
        opened: Cell<usize>,
        answers: RefCell<Vec<Result<u64, StoreError>>>,
    }

    impl Server {
        /// Connection `at` answers after so many milliseconds, or fails at once.
        fn new(answers: Vec<Result<u64, StoreError>>) -> Self {
            Self { opened: Cell::new(0), answers: RefCell::new(answers) }
        }

        /// Asks over that connection, or over the next one.
        async fn ask(&self, held: Option<usize>) -> Result<(usize, usize), StoreError> {
            let at = held.unwrap_or_else(|| self.opened.replace(self.opened.get() + 1));
            let slot = std::mem::replace(&mut self.answers.borrow_mut()[at], Ok(0));
            sleep(Duration::from_millis(slot?)).await;
            Ok((at, at))
        }

        fn becomes(&self, at: usize, answer: Result<u64, StoreError>) {
            self.answers.borrow_mut()[at] = answer;
        }
    }

    const NEVER: u64 = 3_600_000;

    fn hedged() -> Hedged<usize> {
        let held = Arc::new(Lendable::new(Duration::from_millis(50)));
        Hedged::new(held, Duration::from_millis(100), Duration::from_millis(400))
    }

    fn lost() -> StoreError {
        StoreError::Unreachable { why: "a test says so".into() }
    }

    /// Who answered after how many milliseconds, and whether the held one was given up.
    async fn asked(hedged: &mut Hedged<usize>, server: &Server) -> (usize, u128, bool) {
        let began = Instant::now();
        let answered = hedged.ask(|held| server.ask(held)).await.unwrap();
        (answered.answer, began.elapsed().as_millis(), answered.held_one_is_dead)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_answers_in_time_is_asked_alone_and_held() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5)]));
        assert_eq!(asked(&mut hedged, &server).await, (0, 5, false));
        server.becomes(0, Ok(99));
        assert_eq!(asked(&mut hedged, &server).await, (0, 99, false));
        assert_eq!(server.opened.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_quickly_is_lent_and_a_slow_one_is_not() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5)]));
        for (takes, is_lent) in [(49, true), (60, false), (0, true)] {
            server.becomes(0, Ok(takes));
            asked(&mut hedged, &server).await;
            let lent = Arc::clone(hedged.held()).borrow(Duration::ZERO, Instant::now()).await;
            assert_eq!(lent.is_some(), is_lent, "{takes}");
            if let Some(lent) = lent {
                lent.give_back();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_lent_and_does_not_come_back_counts_as_dead() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Ok(20)]));
        asked(&mut hedged, &server).await;
        let _out = Arc::clone(hedged.held()).borrow(Duration::ZERO, Instant::now()).await.unwrap();
        assert_eq!(asked(&mut hedged, &server).await, (1, 120, true));
    }

    /// A network may become slow while it is out: then a new connection takes longest of all.
    #[tokio::test(start_paused = true)]
    async fn one_that_was_lent_and_comes_back_late_is_asked_if_no_other_answers_before() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Ok(5000)]));
        asked(&mut hedged, &server).await;
        let out = Arc::clone(hedged.held()).borrow(Duration::ZERO, Instant::now()).await.unwrap();
        server.becomes(0, Ok(50));
        let back = async {
            sleep(Duration::from_millis(150)).await;
            out.give_back();
        };
        let (answered, ()) = tokio::join!(asked(&mut hedged, &server), back);
        assert_eq!(answered, (0, 200, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_broke_while_it_was_lent_is_asked_again_at_once_over_a_new_one() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Ok(20)]));
        asked(&mut hedged, &server).await;
        let out = Arc::clone(hedged.held()).borrow(Duration::ZERO, Instant::now()).await.unwrap();
        let (answered, ()) = tokio::join!(asked(&mut hedged, &server), async { drop(out) });
        assert_eq!(answered, (1, 20, true));
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_held_one_is_opened_however_long_that_takes() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5000), Ok(0)]));
        assert_eq!(asked(&mut hedged, &server).await, (0, 5000, false));
        assert_eq!(server.opened.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_silent_is_asked_again_over_a_new_one_which_is_held_then() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Ok(20), Ok(0)]));
        asked(&mut hedged, &server).await;
        server.becomes(0, Ok(NEVER));
        assert_eq!(asked(&mut hedged, &server).await, (1, 120, true));
        assert_eq!(asked(&mut hedged, &server).await, (1, 0, false));
        assert_eq!(server.opened.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_broke_is_asked_again_at_once_and_a_new_one_that_broke_is_not() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Ok(20), Err(lost())]));
        asked(&mut hedged, &server).await;
        server.becomes(0, Err(lost()));
        assert_eq!(asked(&mut hedged, &server).await, (1, 20, true));
        server.becomes(1, Err(lost()));
        assert!(hedged.ask(|held| server.ask(held)).await.is_err());
        assert!(!hedged.is_connected());
    }

    #[tokio::test(start_paused = true)]
    async fn whichever_of_two_is_left_when_the_other_breaks_is_waited_for() {
        let (mut hedged, server) = (hedged(), Server::new(vec![Ok(5), Err(lost())]));
        asked(&mut hedged, &server).await;
        server.becomes(0, Ok(300));
        assert_eq!(asked(&mut hedged, &server).await, (0, 300, false));
        let refused = StoreError::TriggersMissing;
        server.becomes(0, Err(refused));
        let told = hedged.ask(|held| server.ask(held)).await.err().unwrap();
        assert!(matches!(told, StoreError::TriggersMissing), "what it says is an answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slow_is_asked_twice_less_and_less_until_it_is_quick_again() {
        let new = || Ok(NEVER);
        let server = Server::new(vec![Ok(0), new(), new(), new(), new(), new()]);
        let mut hedged = hedged();
        asked(&mut hedged, &server).await;
        for (takes, opened) in
            [(150, 2), (150, 2), (250, 3), (450, 4), (250, 4), (450, 5), (450, 6)]
        {
            server.becomes(0, Ok(takes));
            asked(&mut hedged, &server).await;
            assert_eq!(server.opened.get(), opened, "{takes}");
        }
    }
}
