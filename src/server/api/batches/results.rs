//! `GET /v1/batches/{id}/results`: what became of each entry, by the journal, as a file.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_DISPOSITION;
use futures_util::stream;
use serde::Deserialize;

use super::{elsewhere, id, seen, takes_json_lines};
use crate::dispatch::batch::{BatchError, Wanted, WrittenResults};
use crate::dispatch::uploaded::UploadedBatches;
use crate::server::api::asking::Asking;
use crate::server::api::problem::Problem;
use crate::server::api::question::Question;
use crate::server::api::reply::Reply;
use crate::store::BatchRow;

#[derive(Deserialize)]
struct Parameters {
    format: Option<String>,
    rows: Option<String>,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Format {
    /// The rows of the batch, each with what became of it.
    Csv,
    /// One object a line.
    JsonLines,
}

pub(super) async fn answer(
    asking: &Asking<'_>,
    question: &Question<'_>,
    batches: &UploadedBatches,
) -> Result<Reply, Problem> {
    let Parameters { format, rows } = question.parameters()?;
    let format = match format.as_deref() {
        Some("jsonl") => Format::JsonLines,
        None if takes_json_lines(question.headers) => Format::JsonLines,
        _ => Format::Csv,
    };
    let wanted = match rows.as_deref() {
        Some("left") => Wanted::Left,
        Some("all") => Wanted::All,
        _ => Wanted::Done,
    };
    let row = seen(asking.client, batches, id(question)?).await?;
    body_of(batches, &row, wanted, format).await
}

/// The results of a batch as a file.
pub(in crate::server) async fn body_of(
    batches: &UploadedBatches,
    row: &BatchRow,
    wanted: Wanted,
    format: Format,
) -> Result<Reply, Problem> {
    let written = batches.written(row, wanted).await.ok_or_else(elsewhere)?;
    let written =
        written.map_err(|error| Problem::unavailable("results_unreadable", error.to_string()))?;
    let (kind, end) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::JsonLines => ("application/x-ndjson", "jsonl"),
    };
    let name = format!("attachment; filename=\"batch-{}.{end}\"", row.id);
    Ok(Reply::file(kind, lines(written, format)).header(CONTENT_DISPOSITION, &name))
}

/// What is yet to be written. Many lines go out at once.
fn lines(written: WrittenResults, format: Format) -> Body {
    let first = (format == Format::Csv).then(|| written.rows().headings() + "\n");
    let chunks = stream::unfold((written, first), move |(mut written, first)| async move {
        let mut chunk = first.unwrap_or_default();
        for result in written.by_ref().take(AT_ONCE) {
            match result {
                Ok(result) if format == Format::Csv => chunk.push_str(&result.row),
                Ok(result) => chunk.push_str(&result.result.to_string()),
                Err(error) => return Some((Err(broken(&error)), (written, None))),
            }
            chunk.push('\n');
        }
        tokio::task::yield_now().await;
        (!chunk.is_empty()).then(|| (Ok(Bytes::from(chunk)), (written, None)))
    });
    Body::from_stream(chunks)
}

/// Whoever reads sees that it broke off.
fn broken(error: &BatchError) -> std::io::Error {
    tracing::warn!(%error, "results of a batch broke off");
    std::io::Error::other("the results broke off")
}

const AT_ONCE: usize = 256;
