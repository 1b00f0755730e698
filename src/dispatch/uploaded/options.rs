//! How a batch is run, as its client says it and its row keeps it.

use serde::{Deserialize, Serialize};

use crate::dispatch::batch::{Column, Defaults, Limits};
use crate::dispatch::options::{DialOptions, Dialling, WrongOption, whole, wrong};

/// What may be said of a batch beside its rows. What is not said is as on the command line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BatchOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) separator: Option<String>,
    /// `to=phone_number`, and more of them behind commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_duplicates: Option<bool>,
    #[serde(flatten)]
    pub(crate) dialling: DialOptions,
}

/// The same in the types of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    pub(crate) defaults: Defaults,
    pub(crate) limits: Limits,
    pub(crate) dialling: Dialling,
}

impl BatchOptions {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`WrongOption`] says which one cannot be followed, and why.
    pub(crate) fn read(&self) -> Result<RunOptions, WrongOption> {
        Ok(RunOptions {
            defaults: Defaults {
                tenant: parsed("tenant", self.tenant.as_deref())?,
                from: parsed("from", self.from.as_deref())?,
                separator: parsed("separator", self.separator.as_deref())?,
                columns: self.columns.as_deref().map_or_else(|| Ok(Vec::new()), columns)?,
            },
            limits: self.limits()?,
            dialling: self.dialling.read()?,
        })
    }

    fn limits(&self) -> Result<Limits, WrongOption> {
        let usual = Limits::default();
        let cps = self.cps.unwrap_or(usual.calls_per_second);
        if cps != 0.0 && !Limits::CALLS_PER_SECOND.contains(&cps) {
            let (least, most) = (Limits::CALLS_PER_SECOND.start(), Limits::CALLS_PER_SECOND.end());
            let why = format!("must be from {least} to {most}, or 0, for no limit");
            return Err(wrong("cps", why));
        }
        let live = whole("live", self.live, 1, 100_000)?;
        Ok(Limits {
            concurrency: whole(
                "concurrency",
                self.concurrency,
                1,
                Limits::MOST_CONCURRENCY as u64,
            )?
            .unwrap_or(usual.concurrency),
            calls_per_second: cps,
            live,
            retries: whole("retries", self.retries, 0, 100)?
                .and_then(|many| u32::try_from(many).ok())
                .unwrap_or(usual.retries),
            allow_duplicates: self.allow_duplicates.unwrap_or(usual.allow_duplicates),
            ..usual
        })
    }
}

fn parsed<T>(field: &'static str, text: Option<&str>) -> Result<Option<T>, WrongOption>
where
    T: std::str::FromStr,
    T::Err: ToString,
{
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|error: T::Err| wrong(field, error.to_string()))
}

fn columns(text: &str) -> Result<Vec<(Column, String)>, WrongOption> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let malformed = || wrong("columns", "must be such as to=phone_number,from=our_number");
        let (column, heading) = pair.split_once('=').ok_or_else(malformed)?;
        let column = column.trim().parse::<Column>();
        let column = column.map_err(|error| wrong("columns", error.to_string()))?;
        let heading = heading.trim();
        if heading.is_empty() { Err(malformed()) } else { Ok((column, heading.to_owned())) }
    };
    let columns = pairs.map(pair).collect::<Result<Vec<_>, _>>()?;
    let is_twice = |(at, (column, _)): (usize, &(Column, String))| {
        columns.iter().take(at).any(|(before, _)| before == column)
    };
    if columns.iter().enumerate().any(is_twice) {
        return Err(wrong("columns", "must name each column once"));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Dial;

    fn refused(options: &BatchOptions) -> &'static str {
        options.read().unwrap_err().field
    }

    #[test]
    fn what_is_not_said_is_as_on_the_command_line_and_what_cannot_be_is_named() {
        let usual = BatchOptions::default().read().unwrap();
        assert_eq!((usual.limits, usual.dialling.dial), (Limits::default(), Dial::Agent));
        let of = |options: BatchOptions| refused(&options);
        let none = BatchOptions::default;
        assert_eq!(of(BatchOptions { tenant: Some("x".into()), ..none() }), "tenant");
        assert_eq!(of(BatchOptions { from: Some("12".into()), ..none() }), "from");
        assert_eq!(of(BatchOptions { separator: Some("\"".into()), ..none() }), "separator");
        for text in ["to", "to=", "too=x", "to=a,to=b"] {
            assert_eq!(of(BatchOptions { columns: Some(text.into()), ..none() }), "columns");
        }
        for cps in [-1.0, 0.0001, 10_001.0, f64::NAN] {
            assert_eq!(of(BatchOptions { cps: Some(cps), ..none() }), "cps");
        }
        for concurrency in [0, 1025] {
            let options = BatchOptions { concurrency: Some(concurrency), ..none() };
            assert_eq!(of(options), "concurrency");
        }
        let dialling = DialOptions { ringing: Some(9), ..DialOptions::default() };
        assert_eq!(of(BatchOptions { dialling, ..none() }), "ringing");
        let read = BatchOptions { columns: Some("to=phone, job=id".into()), ..none() }.read();
        let columns = read.unwrap().defaults.columns;
        assert_eq!(columns, [(Column::To, "phone".to_owned()), (Column::Job, "id".to_owned())]);
    }
}
