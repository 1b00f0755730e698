//! What an attempt asks a batch before the steps that cannot be taken back: to write the entry down,
//! and to wait for the trunk's turn. A batch that is to stop lets nobody go on.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Batch;
use super::journal::{Key, Pen};
use super::pace::Leave;
use crate::dispatch::{Call, Dial, Ledger};
use crate::number::ConfigId;

/// Writes an entry down before it is dialled, unless the batch is to stop.
pub(super) struct Note<'a> {
    pen: &'a Pen,
    key: Key,
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
    /// The journal failed.
    Failed(io::Error),
}

impl<'a> Note<'a> {
    /// `before`: whether the journal says by now that it is about to be dialled.
    pub(super) fn new(
        Batch { dial, stop, .. }: &'a Batch<'a>,
        pen: &'a Pen,
        key: Key,
        before: bool,
        leave: Option<&'a Leave>,
    ) -> Self {
        let noted = Mutex::new(if before { Noted::Yes } else { Noted::No });
        let engine = matches!(dial, Dial::Engine(_));
        Self { pen, key, engine, stop, leave, noted, place: Mutex::default() }
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
}

impl Ledger for Note<'_> {
    async fn about_to_dial(&self, room: &str, config: Option<ConfigId>) -> io::Result<()> {
        if self.stop.is_cancelled() {
            return Err(self.stopped());
        }
        match self.pen.about_to_dial(self.key, room, config, self.engine).await {
            Ok(()) => {
                self.set(Noted::Yes);
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
