//! What a start without the log has to know about it: its last copy, beside the frames.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU16,
    path::{Path, PathBuf},
    process,
};

use schemas::Namespace;
use serde::{Deserialize, Serialize};

use super::folder;
use crate::Error;

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
    pub fn read(dir: &Path, namespace: &Namespace) -> Option<Self> {
        let text = fs::read(file(dir, namespace)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps a copy in a spool's folder. Blocks.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when frames wait there that were closed for another shape;
    /// [`Error::Spool`] when it cannot be written.
    pub fn keep(&self, dir: &Path) -> Result<(), Error> {
        let before = Self::read(dir, &self.namespace);
        if before.as_ref() == Some(self) {
            return Ok(());
        }
        let failed = |e: io::Error| Error::Spool { dir: dir.to_owned(), reason: e.to_string() };
        if let Some(before) = &before {
            if before.lanes != self.lanes
                && folder::any_waits(dir, &self.namespace).map_err(failed)?
            {
                return Err(Error::Mismatch {
                    stream: format!("of the frames in {}", dir.display()),
                    found: format!("{} lanes", before.lanes),
                    wanted: format!("{} lanes", self.lanes),
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
    pub fn forget(dir: &Path, namespace: &Namespace) {
        let _ = fs::remove_file(file(dir, namespace));
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        folder::make_dir(dir)?;
        // Replicas may share the folder, and each may be killed here.
        let new = dir.join(format!("log.{}.{}", self.namespace, process::id()));
        let mut copy = File::create(&new)?;
        copy.write_all(&serde_json::to_vec(self)?)?;
        copy.sync_all()?;
        fs::rename(&new, file(dir, &self.namespace))?;
        folder::sync_dir(dir)
    }
}

fn file(dir: &Path, namespace: &Namespace) -> PathBuf {
    dir.join(format!("log.{namespace}.json"))
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
        let read = || LogIdentity::read(&spool, &Namespace::default());
        assert_eq!(read(), None);
        for copy in [shape(4, 1), shape(4, 1), shape(4, 2), shape(8, 3)] {
            copy.keep(&spool).unwrap();
            assert_eq!(read(), Some(copy));
        }
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 1);
        let other = Namespace::new("staging").unwrap();
        assert_eq!(LogIdentity::read(&spool, &other), None);
        let copy = file(&spool, &Namespace::default());
        fs::write(&copy, "{").unwrap();
        assert_eq!(read(), None);
        LogIdentity::forget(&spool, &Namespace::default());
        assert!(!copy.exists());
    }

    #[test]
    fn frames_for_another_shape_are_not_published_into_this_one() {
        let dir = tempfile::tempdir().unwrap();
        shape(4, 1).keep(dir.path()).unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        fs::write(dir.path().join("0/lock"), Namespace::default().as_str()).unwrap();
        let segment = dir.path().join(format!("0/{:012}-{:032x}.frames", 0, 1));
        fs::write(&segment, "x").unwrap();
        // A stream made anew still takes them; one with other lanes would fold them elsewhere.
        shape(4, 2).keep(dir.path()).unwrap();
        let refused = shape(8, 2).keep(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("8 lanes"), "{refused}");
        assert_eq!(LogIdentity::read(dir.path(), &Namespace::default()), Some(shape(4, 2)));
        // Those of another log on the same disk are not ours to look at.
        let other = LogIdentity { namespace: Namespace::new("staging").unwrap(), ..shape(8, 1) };
        other.keep(dir.path()).unwrap();
        LogIdentity { lanes: NonZeroU16::MIN, ..other }.keep(dir.path()).unwrap();
        fs::remove_file(segment).unwrap();
        shape(8, 2).keep(dir.path()).unwrap();
    }
}
