//! What an attempt asks a batch before the steps that cannot be taken back: to write the entry down,
//! and to wait for the trunk's turn. A batch that is to stop lets nobody go on.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Batch;
use super::journal::Pen;
use super::pace::Leave;
use super::persons::Persons;
use super::record::Key;
use crate::dispatch::{Call, Dial, Ledger};
use crate::number::{Caller, ConfigId, E164};

/// Writes an entry down before it is dialled, unless the batch is to stop, or it would reach another
/// person than it has leave to call.
pub(super) struct Note<'a> {
    pen: &'a Pen,
    persons: &'a Persons,
    key: Key,
    caller: Caller,
    /// Whom it has leave to call.
    whom: Option<E164>,
    engine: bool,
    stop: &'a CancellationToken,
    leave: Option<&'a Leave>,
    noted: Mutex<Noted>,
    /// Where it is about to be dialled.
    place: Mutex<Option<Call>>,
}

/// What became of writing an entry down.
pub(super) enum Noted {
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

impl<'a> Note<'a> {
    /// `caller`, `whom`: who calls, and whom it has leave to call. `before`: whether the journal says
    /// by now that it is about to be dialled.
    pub(super) fn new(
        Batch { dial, stop, .. }: &'a Batch<'a>,
        (pen, persons): (&'a Pen, &'a Persons),
        key: Key,
        (caller, whom): (Caller, Option<E164>),
        before: bool,
        leave: Option<&'a Leave>,
    ) -> Self {
        let noted = Mutex::new(if before { Noted::Yes } else { Noted::No });
        let engine = matches!(dial, Dial::Engine(_));
        let place = Mutex::default();
        Self { pen, persons, key, caller, whom, engine, stop, leave, noted, place }
    }

    /// Where the engine is about to dial it, or has.
    pub(super) fn dialled(&self) -> Option<Call> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|_| self.engine)
    }

    pub(super) fn into_noted(self) -> Noted {
        self.noted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, now: Noted) -> Noted {
        std::mem::replace(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    fn stopped(&self) -> io::Error {
        let before = matches!(self.set(Noted::No), Noted::Yes);
        self.set(Noted::Stopped { before });
        io::Error::other("the batch is to stop")
    }

    fn moved(&self) -> io::Error {
        let before = matches!(self.set(Noted::No), Noted::Yes);
        self.set(Noted::Moved { before });
        io::Error::other("its rules have changed")
    }
}

impl Ledger for Note<'_> {
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
        match self.pen.about_to_dial(self.key, room, config, to, self.engine).await {
            Ok(()) => {
                self.set(Noted::Yes);
                self.persons.about_to_call(self.caller, to, self.key.0);
                let place = Call::new(room, config);
                *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                Ok(())
            }
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.set(Noted::Failed(error));
                Err(told)
            }
        }
    }

    async fn turn(&self) -> io::Result<()> {
        let Some(leave) = self.leave else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(self.stopped()),
            () = leave.turn() => Ok(()),
        }
    }
}
