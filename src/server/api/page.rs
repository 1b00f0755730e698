//! Pages of a list: where one ends and the next one begins.
//!
//! A cursor is the place of the last row, sealed with a hash of who asked for what. It is taken from the
//! client that got it, for the same list and filter. It guards nothing: every page is filtered by what the
//! client may see, whatever its cursor says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::asking::Asking;
use super::fields::{Field, Kind, optional};
use super::problem::Problem;
use super::question::Question;

/// A page that is asked for.
pub(in crate::server) struct Page {
    limit: usize,
    after: Option<(String, Uuid)>,
    /// A hash of who asks for what.
    of: [u8; 32],
}

impl Page {
    pub(in crate::server) fn of(
        asking: &Asking<'_>,
        question: &Question<'_>,
        limit: Option<u64>,
        cursor: Option<&str>,
    ) -> Result<Self, Problem> {
        let query = question.query.unwrap_or_default();
        Self::at(asking.client.id, question.route.path, query, limit, cursor)
    }

    /// The same of a list by its name.
    pub(in crate::server) fn at(
        client: Uuid,
        path: &str,
        query: &str,
        limit: Option<u64>,
        cursor: Option<&str>,
    ) -> Result<Self, Problem> {
        let of = list(client, path, query);
        let after = cursor.map(|cursor| read(cursor, &of).ok_or_else(not_of_this_list));
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(USUAL);
        Ok(Self { limit, after: after.transpose()?, of })
    }

    /// How many rows are asked for: one more than are shown tells whether there are more.
    pub(in crate::server) fn most(&self) -> usize {
        self.limit + 1
    }

    /// The row that they come after.
    pub(in crate::server) fn after(&self) -> Option<(&str, Uuid)> {
        self.after.as_ref().map(|(key, id)| (key.as_str(), *id))
    }

    /// Where the next page begins after this place.
    pub(in crate::server) fn from(&self, place: (&str, Uuid)) -> String {
        write(place, &self.of)
    }

    /// Leaves away what is beyond the page, and says where the next one begins if there is one.
    pub(in crate::server) fn cut<T>(
        &self,
        rows: &mut Vec<T>,
        place: impl Fn(&T) -> (&str, Uuid),
    ) -> Option<String> {
        if rows.len() <= self.limit {
            return None;
        }
        rows.truncate(self.limit);
        rows.last().map(|last| write(place(last), &self.of))
    }
}

/// Who asks for what: the client, the path and the parameters, but for those of the page itself.
fn list(client: Uuid, path: &str, query: &str) -> [u8; 32] {
    let mut parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != LIMIT && name != CURSOR)
        .collect();
    parameters.sort_unstable();
    let mut hash = Sha256::new_with_prefix(client.as_bytes());
    let texts = parameters.iter().flat_map(|(name, value)| [&**name, &**value]);
    for text in std::iter::once(path).chain(texts) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

fn seal(place: &[u8], of: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(of).chain_update(place).finalize().into()
}

fn write((key, id): (&str, Uuid), of: &[u8; 32]) -> String {
    let place = [id.as_bytes(), key.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode([&seal(&place, of)[..SEAL], &place].concat())
}

fn read(cursor: &str, of: &[u8; 32]) -> Option<(String, Uuid)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (sealed, place) = bytes.split_at_checked(SEAL)?;
    let (id, key) = place.split_at_checked(16)?;
    if sealed != &seal(place, of)[..SEAL] {
        return None;
    }
    Some((String::from_utf8(key.to_vec()).ok()?, Uuid::from_slice(id).ok()?))
}

fn not_of_this_list() -> Problem {
    let why = "must be the `next` of an answer to this client, with the same parameters beside it";
    Problem::field("cursor_invalid", CURSOR, why).hint("begin at the first page, without a cursor")
}

const LIMIT: &str = "limit";
const CURSOR: &str = "cursor";

pub(super) const LIMIT_FIELD: Field =
    optional(LIMIT, Kind::Whole(1, MOST), "How many at the most; 100 if nothing is said.");
pub(super) const CURSOR_FIELD: Field = optional(
    CURSOR,
    Kind::Text,
    "The `next` of the page before, with the other parameters as they were.",
);
pub(super) const NEXT: Field =
    optional("next", Kind::Text, "The cursor of the next page; null on the last one.");

const USUAL: usize = 100;
const MOST: u64 = 500;
/// How many bytes of the hash stand in a cursor.
const SEAL: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_one_client_list_and_filter_and_of_no_other() {
        let (client, id) = (Uuid::from_u128(1), Uuid::from_u128(7));
        let of = list(client, "/v1/numbers", "prefix=%2B971&limit=2&tenant=x");
        let cursor = write(("971500000001", id), &of);
        assert_eq!(read(&cursor, &of), Some(("971500000001".to_owned(), id)));
        // However its parameters are ordered, and whatever the size of the page.
        let same = list(client, "/v1/numbers", "tenant=x&prefix=%2B971&limit=9&cursor=y");
        assert!(read(&cursor, &same).is_some());
        for other in [
            list(Uuid::from_u128(2), "/v1/numbers", "prefix=%2B971&tenant=x"),
            list(client, "/v1/configs", "prefix=%2B971&tenant=x"),
            list(client, "/v1/numbers", "prefix=%2B972&tenant=x"),
            list(client, "/v1/numbers", "prefix=%2B971"),
        ] {
            assert_eq!(read(&cursor, &other), None);
        }
    }

    #[test]
    fn an_altered_cursor_is_refused_whatever_of_it_was_altered() {
        let of = list(Uuid::from_u128(1), "/v1/numbers", "");
        let cursor = write(("971500000001", Uuid::from_u128(7)), &of);
        for at in 0..cursor.len() {
            let mut altered = cursor.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(std::str::from_utf8(&altered).unwrap(), &of), None, "{at}");
        }
        for text in ["", "A", &cursor[1..], &cursor[..cursor.len() - 4]] {
            assert_eq!(read(text, &of), None, "{text}");
        }
    }
}
