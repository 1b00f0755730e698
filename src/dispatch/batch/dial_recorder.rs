//! What a call asks its batch before a step that cannot be taken back: to write the entry to the
//! journal, and to wait for the trunk's turn. A batch that is stopping lets no call go on.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Batch;
use super::journal::JournalWriter;
use super::pace::CallPermit;
use super::persons::Persons;
use super::record::EntryKey;
use crate::dispatch::{Call, Dial, DialGate};
use crate::number::{Caller, ConfigId, E164};

/// Writes an entry down before it is dialled, unless the batch is to stop, or it would reach another
/// person than it has leave to call.
pub(super) struct DialRecorder<'a> {
    journal: &'a JournalWriter,
    persons: &'a Persons,
    key: EntryKey,
    caller: Caller,
    /// Whom it has leave to call.
    whom: Option<E164>,
    engine: bool,
    stop: &'a CancellationToken,
    permit: Option<&'a CallPermit>,
    recorded: Mutex<Recorded>,
    /// Where it is about to be dialled.
    place: Mutex<Option<Call>>,
}

/// What became of writing an entry down.
pub(super) enum Recorded {
    /// The journal does not say that it is about to be dialled.
    No,
    /// The journal says so.
    Yes,
    /// The batch is to stop, so it was not dialled. Whether the journal says otherwise.
    Stopped { before: bool },
    /// It has no leave to call whom it would reach by now, so it was not dialled. Whether the journal
    /// says otherwise.
    Moved { before: bool },
    /// The journal failed.
    Failed(io::Error),
}

impl<'a> DialRecorder<'a> {
    /// `caller`, `whom`: who calls, and whom it has leave to call. `before`: whether the journal says
    /// by now that it is about to be dialled.
    pub(super) fn new(
        Batch { dial, stop, .. }: &'a Batch<'a>,
        (journal, persons): (&'a JournalWriter, &'a Persons),
        key: EntryKey,
        (caller, whom): (Caller, Option<E164>),
        before: bool,
        permit: Option<&'a CallPermit>,
    ) -> Self {
        let recorded = Mutex::new(if before { Recorded::Yes } else { Recorded::No });
        let engine = matches!(dial, Dial::Engine(_));
        let place = Mutex::default();
        Self { journal, persons, key, caller, whom, engine, stop, permit, recorded, place }
    }

    /// Where the engine is about to dial it, or has.
    pub(super) fn dialled(&self) -> Option<Call> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|_| self.engine)
    }

    pub(super) fn into_recorded(self) -> Recorded {
        self.recorded.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, now: Recorded) -> Recorded {
        std::mem::replace(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    fn stopped(&self) -> io::Error {
        let before = matches!(self.set(Recorded::No), Recorded::Yes);
        self.set(Recorded::Stopped { before });
        io::Error::other("the batch is to stop")
    }

    fn moved(&self) -> io::Error {
        let before = matches!(self.set(Recorded::No), Recorded::Yes);
        self.set(Recorded::Moved { before });
        io::Error::other("its rules have changed")
    }
}

impl DialGate for DialRecorder<'_> {
    async fn about_to_dial(
        &self,
        room: &str,
        config: Option<ConfigId>,
        to: E164,
    ) -> io::Result<()> {
        if self.stop.is_cancelled() {
            return Err(self.stopped());
        }
        if self.whom != Some(to) {
            return Err(self.moved());
        }
        match self.journal.about_to_dial(self.key, room, config, to, self.engine).await {
            Ok(()) => {
                self.set(Recorded::Yes);
                self.persons.about_to_call(self.caller, to, self.key.0);
                let place = Call::new(room, config);
                *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                Ok(())
            }
            Err(error) => {
                let outcome = io::Error::new(error.kind(), error.to_string());
                self.set(Recorded::Failed(error));
                Err(outcome)
            }
        }
    }

    async fn turn(&self) -> io::Result<()> {
        let Some(permit) = self.permit else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(self.stopped()),
            () = permit.turn() => Ok(()),
        }
    }
}
