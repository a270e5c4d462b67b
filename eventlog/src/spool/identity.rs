//! What a start without the log has to know about it: its last copy, beside the frames.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU16,
    path::Path,
    process,
};

use schemas::Namespace;
use serde::{Deserialize, Serialize};

use super::folder;
use crate::Error;

const FILE: &str = "log.json";

/// The shape of the log as it was when it was last seen. Frames for another shape would be folded
/// in the wrong lanes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdentity {
    pub namespace: Namespace,
    pub lanes: NonZeroU16,
    /// Creation time of the input stream, in Unix seconds.
    pub incarnation: i64,
    /// Largest message the server takes, in bytes.
    pub max_payload: usize,
}

impl LogIdentity {
    /// The copy in a spool's folder; none when there is none that can be read.
    pub fn read(dir: &Path) -> Option<Self> {
        let text = fs::read(dir.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps a copy in a spool's folder. Blocks.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when frames wait there that were closed for another shape;
    /// [`Error::Spool`] when it cannot be written.
    pub fn keep(&self, dir: &Path) -> Result<(), Error> {
        let before = Self::read(dir);
        if before.as_ref() == Some(self) {
            return Ok(());
        }
        let failed = |e: io::Error| Error::Spool { dir: dir.to_owned(), reason: e.to_string() };
        if let Some(before) = &before {
            let same = (&before.namespace, before.lanes) == (&self.namespace, self.lanes);
            if !same && folder::any_waits(dir).map_err(failed)? {
                let shape = |of: &Self| format!("namespace {}, {} lanes", of.namespace, of.lanes);
                return Err(Error::Mismatch {
                    stream: format!("of the frames in {}", dir.display()),
                    found: shape(before),
                    wanted: shape(self),
                    remedy: "start once as before so that they are published, or move them away"
                        .into(),
                });
            }
            if before.incarnation != self.incarnation {
                tracing::warn!("the log was made anew since it was last seen");
            }
        }
        self.write(dir).map_err(failed)
    }

    /// Removes the copy: the log is not what it was.
    pub fn forget(dir: &Path) {
        let _ = fs::remove_file(dir.join(FILE));
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        folder::make_dir(dir)?;
        // Replicas may share the folder, and each may be killed here.
        let new = dir.join(format!("{FILE}.{}", process::id()));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(FILE))?;
        folder::sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(lanes: u16, incarnation: i64) -> LogIdentity {
        LogIdentity {
            namespace: Namespace::default(),
            lanes: NonZeroU16::new(lanes).unwrap(),
            incarnation,
            max_payload: 8 << 20,
        }
    }

    #[test]
    fn the_last_copy_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("deep/spool");
        assert_eq!(LogIdentity::read(&spool), None);
        for copy in [shape(4, 1), shape(4, 1), shape(4, 2), shape(8, 3)] {
            copy.keep(&spool).unwrap();
            assert_eq!(LogIdentity::read(&spool), Some(copy));
        }
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 1);
        fs::write(spool.join(FILE), "{").unwrap();
        assert_eq!(LogIdentity::read(&spool), None);
        LogIdentity::forget(&spool);
        assert!(!spool.join(FILE).exists());
    }

    #[test]
    fn frames_for_another_shape_are_not_published_into_this_one() {
        let dir = tempfile::tempdir().unwrap();
        shape(4, 1).keep(dir.path()).unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        let segment = dir.path().join(format!("0/{:012}-{:032x}.frames", 0, 1));
        fs::write(&segment, "x").unwrap();
        // A stream made anew still takes them; one with other lanes would fold them elsewhere.
        shape(4, 2).keep(dir.path()).unwrap();
        let refused = shape(8, 2).keep(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("8 lanes"), "{refused}");
        assert_eq!(LogIdentity::read(dir.path()), Some(shape(4, 2)));
        fs::remove_file(segment).unwrap();
        shape(8, 2).keep(dir.path()).unwrap();
    }
}
