//! Where a reader of the change log was, as a text, and what has been committed since.

use super::{
    LOOK, LogCursor, LogState, MOST_CHANGES, NO_AUDIT, PostgresStore, StoreError, Value,
    read_change, read_place,
};
use crate::store::LoggedChange;
use crate::store::sql::SqlStore;

impl LogCursor {
    /// Where the log was read to.
    pub(crate) fn position(&self) -> Option<String> {
        let horizon = self.horizon.as_ref()?;
        Some(written(&horizon.incarnation, horizon.newest, &horizon.snapshot))
    }
}

impl PostgresStore {
    /// What has been committed since a position, and where the log was read to. `None`: it does not
    /// reach back to that, it is another one, or it is too much to go through.
    pub(in crate::store) async fn changes_since(
        &self,
        position: &str,
    ) -> Result<Option<(Vec<LoggedChange>, String)>, StoreError> {
        let mut parts = position.split('\n');
        let (Some(incarnation), Some(newest), Some(snapshot), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let Ok(newest) = newest.parse::<i64>() else { return Ok(None) };
        let look =
            NO_AUDIT.iter().fold(LOOK.to_owned(), |look, (name, part)| look.replace(name, part));
        let statement = self.statement("changes_since", &look);
        let values = [
            snapshot.into(),
            (MOST_CHANGES + 1).into(),
            Value::Int(Some(newest)),
            Value::Places(&[]),
        ];
        let read = |row: &_| {
            let change = read_place(row)?.map(|_| read_change(row)).transpose()?;
            Ok((LogState::read(row)?, change))
        };
        let rows = self.pool().read(&statement, &values, read).await?;
        let Some((state, _)) = rows.first() else { return Ok(None) };
        if !state.reaches_back || state.incarnation != incarnation || rows.len() > MOST_CHANGES {
            return Ok(None);
        }
        let position = written(&state.incarnation, state.newest, &state.snapshot.text);
        Ok(Some((rows.into_iter().filter_map(|(_, change)| change).collect(), position)))
    }
}

fn written(incarnation: &str, newest: i64, snapshot: &str) -> String {
    format!("{incarnation}\n{newest}\n{snapshot}")
}
