//! Counts the panics of the whole process that no test made on purpose.

use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};

/// Starts to count, if nobody has yet. What is printed of a panic stays as it is.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

/// Where the code under test panicked, and what it depends on.
pub fn of_the_product() -> Vec<String> {
    in_threads(|name| !name.starts_with(RIVAL))
}

/// Where the loop that is shown beside it panicked, in threads that are named [`RIVAL`].
pub fn of_the_rival() -> Vec<String> {
    in_threads(|name| name.starts_with(RIVAL))
}

fn in_threads(meant: impl Fn(&str) -> bool) -> Vec<String> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.iter().filter(|(thread, _)| meant(thread)).map(|(_, place)| place.clone()).collect()
}

fn note(info: &PanicHookInfo<'_>) {
    let Some(place) = info.location() else { return };
    // A test that fails, or breaks something with a panic, is told of by itself.
    if place.file().starts_with("program/tests/it/") {
        return;
    }
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push((thread, place.to_string()));
}

pub const RIVAL: &str = "rival";

static SEEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
