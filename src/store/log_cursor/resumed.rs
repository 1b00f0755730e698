//! Where a reader of the change log was, as a text, and what has been committed since.

use super::{
    LOOK, LogState, MOST_CHANGES, NO_AUDIT, Position, PostgresStore, StoreError, Value,
    read_change, read_place,
};
use crate::store::LoggedChange;
use crate::store::sql::SqlStore;

impl PostgresStore {
    /// What has been committed since a position, and where the log was read to. `None`: it does not
    /// reach back to that, it is another one, or it is too much to go through.
    pub(in crate::store) async fn changes_since(
        &self,
        position: &str,
    ) -> Result<Option<(Vec<LoggedChange>, String)>, StoreError> {
        let Some(Position { incarnation, newest, snapshot }) = Position::parse(position) else {
            return Ok(None);
        };
        let look =
            NO_AUDIT.iter().fold(LOOK.to_owned(), |look, (name, part)| look.replace(name, part));
        let statement = self.statement("changes_since", &look);
        let values = [
            snapshot.as_str().into(),
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
        let LogState { incarnation, newest, snapshot, .. } = state;
        let position = Position {
            incarnation: incarnation.clone(),
            newest: *newest,
            snapshot: snapshot.text.clone(),
        };
        let position = position.to_string();
        Ok(Some((rows.into_iter().filter_map(|(_, change)| change).collect(), position)))
    }
}
