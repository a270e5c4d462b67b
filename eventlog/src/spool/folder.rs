//! One instance's folder: locked, written at its end, read from its front. Everything here blocks.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{
        self,
        ErrorKind::{IsADirectory, PermissionDenied},
        Read as _, Seek as _, SeekFrom, Write as _,
    },
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use schemas::Namespace;

use super::{
    SpoolFailure,
    entry::{Entry, Found, Place, scan},
};

/// A segment that has grown to this takes nothing more.
const SEGMENT_BYTES: u64 = 2 << 20;
/// More folders than replicas on one volume can be.
const MOST_FOLDERS: u32 = 4096;
const ENDING: &str = ".frames";
const PROBE: &str = "probe";
/// Locked by who holds the folder; its content names the log its frames are for.
const LOCK: &str = "lock";

/// Who takes a folder.
#[derive(Debug)]
pub(super) struct Holder {
    /// Of the segments it makes.
    pub(super) salt: [u8; 16],
    /// Of the log its frames are for.
    pub(super) namespace: Namespace,
}

/// A folder this process holds; the system lets go of it whatever ends the process.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Of the segments this process makes.
    salt: [u8; 16],
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The last segment, while it may be written.
    active: Option<File>,
    next: u64,
    _lock: File,
}

/// What a look for folders that nobody holds came to.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    pub(super) found: Option<Folder>,
    /// Those passed over on the way, and why.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    place: Place,
    /// Bytes that are on disk for certain; behind them stands what no read looks at.
    length: u64,
    frames: u64,
    /// How far its frames are published.
    read: u64,
    read_frames: u64,
    since: SystemTime,
    is_damaged: bool,
}

/// The front of a folder: frames that wait, in order.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) path: PathBuf,
    place: Place,
    from: u64,
    to: u64,
}

impl Folder {
    /// Takes the first folder below `parent` that nobody holds and that has no frames of another
    /// log, and finds what is in it.
    pub(super) fn claim(parent: &Path, holder: &Holder) -> io::Result<Self> {
        make_dir(parent)?;
        for n in 0..MOST_FOLDERS {
            let dir = parent.join(n.to_string());
            make_dir(&dir)?;
            let lock = match lock(&dir) {
                // It is somebody else's, who has left: no reason to be without a folder.
                Err(e) if matches!(e.kind(), PermissionDenied | IsADirectory) => continue,
                lock => lock?,
            };
            if let Some(mut lock) = lock {
                let named = name_in(&mut lock)?;
                if !is_of(&named, &holder.namespace) && !segments_in(&dir)?.is_empty() {
                    continue;
                }
                if named != holder.namespace.as_str().as_bytes() {
                    lock.set_len(0)?;
                    lock.rewind()?;
                    lock.write_all(holder.namespace.as_str().as_bytes())?;
                    lock.sync_all()?;
                }
                return Self::open(dir, lock, holder.salt);
            }
        }
        Err(io::Error::other(format!("{MOST_FOLDERS} folders are held by others")))
    }

    /// A folder beside `own` that nobody holds and in which frames of the same log wait; one that
    /// cannot be read is passed over and named.
    pub(super) fn abandoned(parent: &Path, own: &Path, holder: &Holder) -> io::Result<Abandoned> {
        let mut unreadable = Vec::new();
        for dir in folders_in(parent)? {
            if dir == own {
                continue;
            }
            match Self::take_over(&dir, holder) {
                Ok(None) => {}
                Ok(found) => return Ok(Abandoned { found, unreadable }),
                // The others are not kept waiting by one that, say, has another owner.
                Err(e) => unreadable.push((dir, e)),
            }
        }
        Ok(Abandoned { found: None, unreadable })
    }

    /// Takes this folder, if nobody holds it and frames of the holder's log wait in it.
    fn take_over(dir: &Path, holder: &Holder) -> io::Result<Option<Self>> {
        if segments_in(dir)?.is_empty() {
            return Ok(None);
        }
        let Some(mut lock) = lock(dir)? else { return Ok(None) };
        if !is_of(&name_in(&mut lock)?, &holder.namespace) {
            return Ok(None);
        }
        let folder = Self::open(dir.to_owned(), lock, holder.salt)?;
        Ok(Some(folder).filter(|folder| !folder.segments.is_empty()))
    }

    fn open(dir: PathBuf, lock: File, salt: [u8; 16]) -> io::Result<Self> {
        let mut segments = VecDeque::new();
        for (place, path) in segments_in(&dir)? {
            let mut bytes = Vec::new();
            let mut file = File::open(&path)?;
            file.read_to_end(&mut bytes)?;
            let is_entry = |found: &&Found| matches!(found, Found::Entry(_));
            let frames = scan(place, 0, &bytes).iter().filter(is_entry).count() as u64;
            segments.push_back(Segment {
                path,
                place,
                length: bytes.len() as u64,
                frames,
                read: 0,
                read_frames: 0,
                since: file.metadata()?.modified()?,
                is_damaged: false,
            });
        }
        let next = segments.back().map_or(0, |segment| segment.place.number + 1);
        let mut folder = Self { dir, salt, segments, active: None, next, _lock: lock };
        // A process that died before its first write leaves empty ones.
        folder.retire()?;
        Ok(folder)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Size of all segments, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Frames that wait.
    pub(super) fn frames(&self) -> u64 {
        self.segments.iter().map(|s| s.frames.saturating_sub(s.read_frames)).sum()
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Since when the oldest frame waits, or a little longer.
    pub(super) fn since(&self) -> Option<SystemTime> {
        self.segments.front().map(|segment| segment.since)
    }

    /// Writes the entries and waits until the disk has them; one answer each.
    pub(super) fn append(
        &mut self,
        entries: &[Entry],
        max_bytes: u64,
    ) -> Vec<Result<(), SpoolFailure>> {
        let mut taken = self.bytes();
        let mut fitting = Vec::with_capacity(entries.len());
        let mut answers: Vec<Result<(), SpoolFailure>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let fits = taken + entry.size() <= max_bytes;
            answers.push(if fits { Ok(()) } else { Err(SpoolFailure::Full { max_bytes }) });
            if fits {
                taken += entry.size();
                fitting.push(entry);
            }
        }
        if !fitting.is_empty()
            && let Err(failure) = self.write(&fitting)
        {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(failure.clone());
            }
        }
        answers
    }

    fn write(&mut self, entries: &[&Entry]) -> Result<(), SpoolFailure> {
        let not_begun = |e: io::Error| SpoolFailure::Unwritable { reason: e.to_string() };
        if self.segments.back().is_some_and(|segment| segment.length >= SEGMENT_BYTES) {
            self.active = None;
        }
        if self.active.is_none() {
            self.begin().map_err(not_begun)?;
        }
        let (Some(file), Some(segment)) = (&mut self.active, self.segments.back_mut()) else {
            return Err(not_begun(io::Error::other("no segment")));
        };
        let mut bytes = Vec::new();
        for entry in entries {
            entry.write(segment.place, segment.length, &mut bytes);
        }
        let Err(e) = file.write_all(&bytes).and_then(|()| file.sync_data()) else {
            segment.length += bytes.len() as u64;
            segment.frames += entries.len() as u64;
            return Ok(());
        };
        // Nothing is written behind what may stand there now. Only if the disk has forgotten it for
        // certain was nothing written; a failed sync tells nothing about what a later one finds.
        let undone = file.set_len(segment.length).and_then(|()| file.sync_all()).is_ok();
        self.active = None;
        if segment.length == 0
            && let Some(segment) = self.segments.pop_back()
        {
            let _ = fs::remove_file(segment.path);
        }
        let reason = e.to_string();
        Err(match undone {
            true => SpoolFailure::Unwritable { reason },
            false => SpoolFailure::InDoubt { reason },
        })
    }

    /// Begins a segment; its name is on disk before anything is in it.
    fn begin(&mut self) -> io::Result<()> {
        let place = Place { salt: self.salt, number: self.next };
        let name = format!("{:012}-{:032x}{ENDING}", place.number, u128::from_be_bytes(place.salt));
        let path = self.dir.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        self.next += 1;
        if let Err(e) = sync_dir(&self.dir) {
            let _ = fs::remove_file(&path);
            return Err(e);
        }
        let since = file.metadata()?.modified()?;
        self.segments.push_back(Segment {
            path,
            place,
            length: 0,
            frames: 0,
            read: 0,
            read_frames: 0,
            since,
            is_damaged: false,
        });
        self.active = Some(file);
        Ok(())
    }

    /// What is to be published next.
    pub(super) fn front(&self) -> Option<Chunk> {
        let segment = self.segments.front()?;
        Some(Chunk {
            path: segment.path.clone(),
            place: segment.place,
            from: segment.read,
            to: segment.length,
        })
    }

    /// Forgets a chunk, all of whose `frames` are acknowledged, and removes the segments that are
    /// through. One that was `damaged` is kept beside them for a person to look at.
    pub(super) fn published(
        &mut self,
        chunk: &Chunk,
        frames: u64,
        damaged: bool,
    ) -> io::Result<()> {
        if let Some(segment) = self.segments.front_mut()
            && segment.place == chunk.place
        {
            segment.read = chunk.to;
            segment.read_frames += frames;
            segment.is_damaged |= damaged;
        }
        self.retire()
    }

    fn retire(&mut self) -> io::Result<()> {
        let mut gone = false;
        while let Some(segment) = self.segments.pop_front_if(|s| s.read == s.length) {
            if self.segments.is_empty() {
                self.active = None;
            }
            gone = true;
            match segment.is_damaged {
                true => fs::rename(&segment.path, segment.path.with_extension("damaged"))?,
                false => fs::remove_file(&segment.path)?,
            }
        }
        if gone { sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Whether something can be written and synced here.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.dir.join(PROBE);
        let mut file = File::create(&path)?;
        let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
        fs::remove_file(&path)?;
        written
    }
}

impl Chunk {
    /// Reads what stands there.
    pub(super) fn read(&self) -> io::Result<Vec<Found>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = vec![0; (self.to - self.from) as usize];
        file.read_exact(&mut bytes)?;
        Ok(scan(self.place, self.from, &bytes))
    }
}

/// Whether frames of this log wait in any folder below `parent`, whoever holds it.
///
/// # Errors
/// See [`any_of`].
pub(super) fn any_waits(parent: &Path, namespace: &Namespace) -> io::Result<bool> {
    any_of(folders_in(parent)?, |dir| {
        let named = fs::read(dir.join(LOCK)).unwrap_or_default();
        Ok(!segments_in(dir)?.is_empty() && is_of(&named, namespace))
    })
}

/// Whether frames wait in any of these folders. One that cannot be read hides nothing that waits in
/// another.
///
/// # Errors
/// None were found, and some folders, which are named, could not be looked into.
pub(super) fn any_of(
    dirs: Vec<PathBuf>,
    waits: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut unreadable = Vec::new();
    for dir in dirs {
        match waits(&dir) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(e) => unreadable.push(format!("{}: {e}", dir.display())),
        }
    }
    if unreadable.is_empty() {
        return Ok(false);
    }
    let reason = "frames of another shape of the log may wait where nobody can look";
    Err(io::Error::other(format!("{reason}: {}", unreadable.join(", "))))
}

/// Whether frames wait in a folder beside `own`, whoever holds it, or may wait in one that cannot
/// be read.
pub(super) fn another_waits(parent: &Path, own: &Path) -> bool {
    let waits = |dir: &PathBuf| segments_in(dir).map_or(true, |segments| !segments.is_empty());
    folders_in(parent).is_ok_and(|dirs| dirs.iter().any(|dir| dir != own && waits(dir)))
}

/// The instances' folders.
fn folders_in(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for found in fs::read_dir(parent)? {
        let dir = found?.path();
        if file_name(&dir).parse::<u32>().is_ok() && dir.is_dir() {
            dirs.push(dir);
        }
    }
    Ok(dirs)
}

/// The segments of a folder by number.
fn segments_in(dir: &Path) -> io::Result<Vec<(Place, PathBuf)>> {
    let mut segments = Vec::new();
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        let place = file_name(&path).strip_suffix(ENDING).and_then(|name| {
            let (number, salt) = name.split_once('-')?;
            let salt = u128::from_str_radix(salt, 16).ok()?.to_be_bytes();
            Some(Place { number: number.parse().ok()?, salt })
        });
        if let Some(place) = place {
            segments.push((place, path));
        }
    }
    segments.sort_unstable_by_key(|(place, _)| place.number);
    Ok(segments)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Makes a folder only its owner can enter, if there is none, and has its name on disk, and those
/// of the folders above it that are missing too.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    make_dir_with(dir, &mut sync_dir)
}

/// Makes the missing folders from the top down; `sync` puts the names in a folder on disk.
pub(super) fn make_dir_with(
    dir: &Path,
    sync: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_dir_with(parent, sync)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another process made it meanwhile, and may not have its name on disk yet.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a lock says about the log its folder's frames are for.
fn name_in(lock: &mut File) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    lock.read_to_end(&mut found)?;
    Ok(found)
}

/// Whether frames are for this log. Those of a folder whose lock says nothing, because somebody
/// removed it, are taken for ours rather than left for ever.
fn is_of(named: &[u8], namespace: &Namespace) -> bool {
    named.is_empty() || named == namespace.as_str().as_bytes()
}

/// The lock of a folder; none when somebody holds it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}
