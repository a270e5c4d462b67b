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
    /// The log that was found last was another one: nothing may be taken for it unseen, and what
    /// waits is still for the one this describes.
    #[serde(default)]
    pub doubted: bool,
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
                    remedy: format!(
                        "bring back the stream with {} lanes so that they are published, or move \
                         the numbered folders away before setting nats.lanes",
                        before.lanes
                    ),
                });
            }
            if before.incarnation != self.incarnation {
                tracing::warn!("the log was made anew since it was last seen");
            }
        }
        self.write(dir).map_err(failed)
    }

    /// Notes in the copy that the log is not what it was. The copy stays: it says what the frames
    /// that wait are for.
    pub fn doubt(dir: &Path, namespace: &Namespace) {
        if let Some(copy) = Self::read(dir, namespace) {
            let doubted = Self { doubted: true, ..copy };
            if let Err(error) = doubted.write(dir) {
                tracing::error!("note in {} that the log is another: {error}", dir.display());
            }
        }
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
            doubted: false,
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
        fs::write(file(&spool, &Namespace::default()), "{").unwrap();
        assert_eq!(read(), None);
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
        // Nor once it is known that the log is another, which only the one of before takes back.
        LogIdentity::doubt(dir.path(), &Namespace::default());
        let doubted = || LogIdentity::read(dir.path(), &Namespace::default()).unwrap().doubted;
        assert!(doubted());
        shape(8, 2).keep(dir.path()).unwrap_err();
        assert!(doubted());
        shape(4, 2).keep(dir.path()).unwrap();
        assert!(!doubted());
        // Those of another log on the same disk are not ours to look at.
        let other = LogIdentity { namespace: Namespace::new("staging").unwrap(), ..shape(8, 1) };
        other.keep(dir.path()).unwrap();
        LogIdentity { lanes: NonZeroU16::MIN, ..other }.keep(dir.path()).unwrap();
        fs::remove_file(segment).unwrap();
        shape(8, 2).keep(dir.path()).unwrap();
    }
}
