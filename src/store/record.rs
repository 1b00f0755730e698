//! A row as it came from either database.

use chrono::{DateTime, Utc};
use sqlx::{ColumnIndex, Decode, Error, Row, Type};
use uuid::Uuid;

/// The columns of a row, by name. What is null is `None`.
pub(super) trait Record: Send {
    fn text(&self, column: &str) -> Result<Option<String>, Error>;
    fn id(&self, column: &str) -> Result<Option<Uuid>, Error>;
    fn int(&self, column: &str) -> Result<Option<i64>, Error>;
    fn real(&self, column: &str) -> Result<Option<f64>, Error>;
    #[cfg(feature = "postgres")]
    fn bool(&self, column: &str) -> Result<Option<bool>, Error>;

    /// Unchecked, since an adopted table may have its times without a time zone (then UTC).
    fn time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error>;

    /// An id that every row has.
    fn own_id(&self, column: &str) -> Result<Uuid, Error> {
        required(self.id(column)?, column)
    }

    /// A number that every row has.
    fn own_int(&self, column: &str) -> Result<i64, Error> {
        required(self.int(column)?, column)
    }

    /// A text, empty where there is none.
    fn own_text(&self, column: &str) -> Result<String, Error> {
        Ok(self.text(column)?.unwrap_or_default())
    }
}

impl<R: Row> Record for R
where
    for<'c> &'c str: ColumnIndex<R>,
    String: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    Uuid: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    i64: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    f64: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    bool: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    DateTime<Utc>: Type<R::Database> + for<'r> Decode<'r, R::Database>,
{
    fn text(&self, column: &str) -> Result<Option<String>, Error> {
        self.try_get(column)
    }

    fn id(&self, column: &str) -> Result<Option<Uuid>, Error> {
        self.try_get(column)
    }

    fn int(&self, column: &str) -> Result<Option<i64>, Error> {
        self.try_get(column)
    }

    fn real(&self, column: &str) -> Result<Option<f64>, Error> {
        self.try_get(column)
    }

    #[cfg(feature = "postgres")]
    fn bool(&self, column: &str) -> Result<Option<bool>, Error> {
        self.try_get(column)
    }

    fn time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
        self.try_get_unchecked(column)
    }
}

fn required<T>(value: Option<T>, column: &str) -> Result<T, Error> {
    let null = || Error::ColumnDecode { index: column.into(), source: "it is null".into() };
    value.ok_or_else(null)
}
