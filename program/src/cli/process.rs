//! Keeps the memory of the process from other programs: no core file, and nobody of the same user
//! attaches to it or reads it.
//!
//! Root can do all of that still. Children begin anew, except for the core file.

use std::io;

/// Keeps it to itself from here on, as far as the system grants that.
#[cfg(target_os = "linux")]
pub(crate) fn keep_to_itself() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Other systems have no such switch that is safe to turn.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_to_itself() -> io::Result<()> {
    Ok(())
}
