//! What keeps secrets in this process's memory.
//!
//! Owns the two switches that the platforms have: no core file anywhere, and on Linux a process that no other one of the
//! same user may look into.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Makes the process one that leaves no memory behind. A platform that refuses is only logged: the program works all the
/// same.
pub fn begin() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core files cannot be switched off");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::debug!(%error, "the process cannot be made non-dumpable");
        }
    }
}
