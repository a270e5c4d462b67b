//! The last state on disk, so that a start without the log lets in whom it let in before.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::known::{Known, VERSION};

/// Name of the file in the state folder.
const FILE: &str = "keys.json";

/// Where the copy is kept: one JSON file that its owner alone can read. It holds no key, only their
/// SHA-256.
#[derive(Clone, Debug)]
pub struct CopyFile {
    path: PathBuf,
}

impl CopyFile {
    /// In this folder, which is made where it is missing.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join(FILE) }
    }

    /// What stands there; none when there is no file.
    ///
    /// # Errors
    /// One that cannot be read, or that this binary did not write.
    pub fn read(&self) -> io::Result<Option<Known>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.told(&error)),
        };
        let known: Known = serde_json::from_slice(&bytes)
            .map_err(|error| self.told(&io::Error::new(io::ErrorKind::InvalidData, error)))?;
        if known.version != VERSION {
            let problem = format!("has format {}, this binary knows {VERSION}", known.version);
            return Err(self.told(&io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        Ok(Some(known))
    }

    /// Puts this in its place: a crash leaves the old one or the new one, whole. A copy that
    /// another process of the same folder made from more of the same log stays, unless it goes as
    /// far as `beyond`, a sequence that was found not to be in that log.
    ///
    /// # Errors
    /// What the disk said; the old one then stands.
    pub fn write(&self, known: &Known, beyond: Option<u64>) -> io::Result<()> {
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Several processes may keep their copies in one folder: one looks and writes at a
            // time, or an older state could still be put over a newer one between the two.
            let alone = File::open(folder)?;
            // Where a disk knows no locks the look alone has to do.
            let _ = alone.lock();
            // One that cannot be read is no reason to keep it.
            if let Ok(Some(there)) = self.read()
                && there.incarnation == known.incarnation
                && there.sequence > known.sequence
                && beyond.is_none_or(|beyond| there.sequence < beyond)
            {
                return Ok(());
            }
            let beside = self.path.with_extension(format!("{}.new", runtime::random_uuid()));
            let write = || {
                let mut options = File::options();
                let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
                file.write_all(&serde_json::to_vec_pretty(known)?)?;
                file.sync_all()?;
                fs::rename(&beside, &self.path)
            };
            if let Err(error) = write() {
                // It may not even be there.
                let _ = fs::remove_file(&beside);
                return Err(error);
            }
            alone.sync_all()
        };
        write().map_err(|error| self.told(&error))
    }

    fn told(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use schemas::Time;

    use super::*;

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("bellwether-keys-{}", runtime::random_uuid()))
    }

    #[test]
    fn it_is_read_back_whole_and_only_its_owner_may() {
        let folder = folder();
        let copy = CopyFile::in_folder(&folder);
        assert_eq!(copy.read().unwrap(), None);
        for sequence in [1, 2] {
            let known = Known { sequence, ..Known::nothing(7, Time::from_micros(9)) };
            copy.write(&known, None).unwrap();
            assert_eq!(copy.read().unwrap(), Some(known));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&copy.path)), (0o700, 0o600));
        let files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(files, ["keys.json"], "nothing is left beside it");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_slower_replica_puts_no_older_state_over_a_newer_one() {
        let folder = folder();
        let known = |incarnation, sequence| Known {
            sequence,
            ..Known::nothing(incarnation, Time::from_micros(9))
        };
        let copy = CopyFile::in_folder(&folder);
        copy.write(&known(7, 5), None).unwrap();
        copy.write(&known(7, 4), None).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(7, 5)));
        // A log made anew begins at its front; it may be of a server whose clock is behind.
        copy.write(&known(8, 1), None).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(8, 1)));
        copy.write(&known(7, 2), None).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(7, 2)));
        // A copy of what that log has lost is not newer.
        copy.write(&known(7, 1), Some(3)).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(7, 2)));
        copy.write(&known(7, 1), Some(2)).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(7, 1)));
        // Many at once leave the newest, whoever comes last.
        std::thread::scope(|scope| {
            for sequence in 3..40 {
                let (copy, known) = (&copy, known(7, sequence));
                scope.spawn(move || copy.write(&known, None).unwrap());
            }
        });
        assert_eq!(copy.read().unwrap(), Some(known(7, 39)));
        // One that cannot be read is replaced by any.
        fs::write(&copy.path, "{").unwrap();
        copy.write(&known(7, 1), None).unwrap();
        assert_eq!(copy.read().unwrap(), Some(known(7, 1)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_that_is_none_is_an_error_that_names_the_file() {
        let folder = folder();
        let copy = CopyFile::in_folder(&folder);
        copy.write(&Known::nothing(7, Time::default()), None).unwrap();
        let whole = fs::read_to_string(&copy.path).unwrap();
        for bad in ["", "{}", &whole[..whole.len() / 2], &whole.replace("\": 1,", "\": 2,")] {
            fs::write(&copy.path, bad).unwrap();
            let error = copy.read().unwrap_err().to_string();
            assert!(error.contains("keys.json"), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
        // A folder that cannot be one.
        fs::write(&folder, "").unwrap();
        assert!(copy.write(&Known::nothing(7, Time::default()), None).is_err());
        fs::remove_file(folder).unwrap();
    }
}
