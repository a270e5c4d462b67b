//! One folder after the other: cut, flipped, full, held by others, gone and back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use schemas::{Lane, LaneKey, Namespace, ProducerId, subject::Class};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::{
    Entry, Folder, Holder, Spool, SpoolConfig, SpoolFailure,
    entry::Found,
    folder::{any_of, make_dir_with},
};

fn holder(salt: u8) -> Holder {
    Holder { salt: [salt; 16], namespace: Namespace::default() }
}
const ENOUGH: u64 = 1 << 30;

fn entry(n: u64, size: usize) -> Entry {
    Entry {
        key: LaneKey::Lane(Lane((n % 3) as u16)),
        class: Class::Data,
        message_id: format!("producer:{n}"),
        frame: Bytes::from(vec![n as u8; size]),
    }
}

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|n| entry(n, 20)).collect()
}

fn config(dir: &Path, max_bytes: u64) -> SpoolConfig {
    SpoolConfig { dir: dir.to_owned(), max_bytes }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|found| found.unwrap().path());
    let mut found: Vec<_> =
        files.filter(|p| p.extension().is_some_and(|e| e == "frames")).collect();
    found.sort();
    found
}

/// Everything that waits in a folder, which is empty afterwards.
fn take_all(folder: &mut Folder) -> (Vec<Entry>, bool) {
    let (mut taken, mut damaged) = (Vec::new(), false);
    while let Some(chunk) = folder.front() {
        let found = chunk.read().unwrap();
        let hurt = found.iter().any(|f| matches!(f, Found::Damaged { .. }));
        let before = taken.len();
        taken.extend(found.into_iter().filter_map(|f| match f {
            Found::Entry(entry) => Some(entry),
            Found::Damaged { .. } | Found::Torn { .. } => None,
        }));
        folder.published(&chunk, (taken.len() - before) as u64, hurt).unwrap();
        damaged |= hurt;
    }
    assert!(folder.is_empty());
    assert_eq!((folder.frames(), folder.bytes()), (0, 0));
    (taken, damaged)
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_at_any_byte() {
    let dir = TempDir::new().unwrap();
    let parent = dir.path().join("written");
    let mut folder = Folder::claim(&parent, &holder(7)).unwrap();
    let mut ends = vec![0];
    for n in 0..4 {
        assert_eq!(folder.append(&[entry(n, 20)], ENOUGH), [Ok(())]);
        ends.push(folder.bytes() as usize);
    }
    let written = segments(folder.dir()).remove(0);
    let bytes = fs::read(&written).unwrap();
    assert_eq!(bytes.len(), ends[4]);
    for cut in 0..=bytes.len() {
        let parent = dir.path().join(format!("cut-{cut}"));
        fs::create_dir_all(parent.join("0")).unwrap();
        fs::write(parent.join("0").join(written.file_name().unwrap()), &bytes[..cut]).unwrap();
        let mut reopened = Folder::claim(&parent, &holder(8)).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        assert_eq!(reopened.frames(), whole, "cut at {cut}");
        // What comes next goes behind it, whatever the last write left.
        assert_eq!(reopened.append(&[entry(9, 20)], ENOUGH), [Ok(())]);
        let (taken, damaged) = take_all(&mut reopened);
        let mut expected = entries(0..whole);
        expected.push(entry(9, 20));
        assert_eq!((taken, damaged), (expected, false), "cut at {cut}");
        assert_eq!(segments(reopened.dir()), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_flipped_byte_is_loud_and_costs_one_frame() {
    let dir = TempDir::new().unwrap();
    let mut folder = Folder::claim(dir.path(), &holder(7)).unwrap();
    folder.append(&entries(0..3), ENOUGH);
    let own = folder.dir().to_owned();
    drop(folder);
    let file = segments(&own).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    let mut folder = Folder::claim(dir.path(), &holder(7)).unwrap();
    let (taken, damaged) = take_all(&mut folder);
    assert!(damaged);
    assert_eq!(taken, [entry(0, 20), entry(2, 20)]);
    assert!(file.with_extension("damaged").exists() && !file.exists());
}

#[test]
fn a_folder_has_one_holder_and_what_nobody_holds_is_found() {
    let dir = TempDir::new().unwrap();
    let mut first = Folder::claim(dir.path(), &holder(7)).unwrap();
    let second = Folder::claim(dir.path(), &holder(8)).unwrap();
    assert_ne!(first.dir(), second.dir());
    first.append(&entries(0..2), ENOUGH);
    let abandoned = || Folder::abandoned(dir.path(), second.dir(), &holder(8)).unwrap().found;
    assert!(abandoned().is_none(), "it is held");
    let of_first = first.dir().to_owned();
    drop(first);
    let mut found = abandoned().unwrap();
    assert_eq!(found.dir(), of_first);
    // Its process comes back meanwhile: it takes another.
    let back = Folder::claim(dir.path(), &holder(7)).unwrap();
    assert!(back.dir() != of_first && back.dir() != second.dir() && back.is_empty());
    assert_eq!(take_all(&mut found).0, entries(0..2));
    drop(found);
    assert!(abandoned().is_none(), "nothing waits there any more");
}

#[test]
fn a_folder_that_cannot_be_read_keeps_none_of_the_others_waiting() {
    let dir = TempDir::new().unwrap();
    let own = Folder::claim(dir.path(), &holder(7)).unwrap();
    // Not a lock that can be opened, whoever this user is: as when the folder has another owner.
    let mut bad = Vec::new();
    for n in [1, 2, 4, 5] {
        let folder = dir.path().join(n.to_string());
        fs::create_dir_all(folder.join("lock")).unwrap();
        fs::write(folder.join(format!("{:012}-{:032x}.frames", 0, 1)), "x").unwrap();
        bad.push(folder);
    }
    fs::create_dir(dir.path().join("3")).unwrap();
    let look = || Folder::abandoned(dir.path(), own.dir(), &holder(7)).unwrap();
    let first = look();
    assert!(first.found.is_none());
    let mut unreadable: Vec<_> = first.unreadable.into_iter().map(|(dir, _)| dir).collect();
    unreadable.sort();
    assert_eq!(unreadable, bad);
    fs::remove_dir(dir.path().join("3")).unwrap();
    // One that was held and written, among them.
    let aside = TempDir::new().unwrap();
    let mut written = Folder::claim(aside.path(), &holder(9)).unwrap();
    written.append(&entries(0..2), ENOUGH);
    let from = written.dir().to_owned();
    drop(written);
    fs::create_dir(dir.path().join("3")).unwrap();
    for found in fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        fs::copy(found.path(), dir.path().join("3").join(found.file_name())).unwrap();
    }
    let mut found = look().found.unwrap();
    assert_eq!(found.dir(), dir.path().join("3"));
    assert_eq!(take_all(&mut found).0, entries(0..2));
    // Nor is a new process without a folder for their sake.
    let next = Folder::claim(dir.path(), &holder(8)).unwrap();
    assert_eq!(next.dir(), dir.path().join("6"));
}

#[test]
fn what_waits_is_found_beside_a_folder_that_cannot_be_read() {
    let look = |dirs: &[&str]| {
        let dirs = dirs.iter().map(PathBuf::from).collect();
        any_of(dirs, |dir| match dir.to_str() {
            Some("bad") => Err(std::io::Error::other("no access")),
            name => Ok(name == Some("waits")),
        })
    };
    assert!(look(&["bad", "empty", "waits"]).unwrap());
    assert!(!look(&["empty", "empty"]).unwrap());
    // Where none was found, nobody knows of that one.
    let error = look(&["empty", "bad", "empty"]).unwrap_err().to_string();
    assert!(error.contains("bad: no access"), "{error}");
}

#[test]
fn the_name_of_each_new_folder_is_on_disk() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("a/b/c");
    let mut synced = Vec::new();
    let mut note = |dir: &Path| {
        synced.push(dir.to_owned());
        Ok(())
    };
    make_dir_with(&deep, &mut note).unwrap();
    make_dir_with(&deep, &mut note).unwrap();
    assert!(deep.is_dir());
    assert_eq!(synced, [dir.path().into(), dir.path().join("a"), dir.path().join("a/b")]);
    // A folder whose name may not be on disk is none.
    let refused = make_dir_with(&deep.join("d/e"), &mut |_| Err(std::io::Error::other("no")));
    assert!(refused.is_err() && !deep.join("d/e").exists());
}

#[test]
fn frames_of_another_log_are_left_alone() {
    let dir = TempDir::new().unwrap();
    let other = Holder { salt: [9; 16], namespace: Namespace::new("staging").unwrap() };
    let mut theirs = Folder::claim(dir.path(), &other).unwrap();
    theirs.append(&entries(0..2), ENOUGH);
    let of_theirs = theirs.dir().to_owned();
    drop(theirs);
    // Neither taken nor emptied by a process of this log ...
    let mut own = Folder::claim(dir.path(), &holder(7)).unwrap();
    assert!(own.dir() != of_theirs && own.is_empty());
    assert!(Folder::abandoned(dir.path(), own.dir(), &holder(7)).unwrap().found.is_none());
    own.append(&entries(5..6), ENOUGH);
    let of_own = own.dir().to_owned();
    drop(own);
    // ... but found by the next of its own.
    let mut back = Folder::claim(dir.path(), &other).unwrap();
    assert_eq!(back.dir(), of_theirs);
    assert_eq!(take_all(&mut back).0, entries(0..2));
    assert!(Folder::abandoned(dir.path(), &of_theirs, &other).unwrap().found.is_none());
    // An empty folder is anybody's.
    drop(back);
    let mut own = Folder::claim(dir.path(), &holder(8)).unwrap();
    assert_eq!(own.dir(), of_theirs);
    let mut found = Folder::abandoned(dir.path(), own.dir(), &holder(8)).unwrap().found.unwrap();
    assert_eq!(found.dir(), of_own);
    assert_eq!((take_all(&mut found).0, take_all(&mut own).0), (entries(5..6), Vec::new()));
}

#[test]
fn segments_are_closed_at_their_size_and_removed_when_they_are_through() {
    let dir = TempDir::new().unwrap();
    let mut folder = Folder::claim(dir.path(), &holder(7)).unwrap();
    let large: Vec<_> = (0..5).map(|n| entry(n, 1 << 20)).collect();
    for entry in &large {
        assert_eq!(folder.append(std::slice::from_ref(entry), ENOUGH), [Ok(())]);
    }
    assert_eq!(segments(folder.dir()).len(), 3);
    let chunk = folder.front().unwrap();
    // What comes while a chunk is published is not forgotten with it.
    folder.append(&entries(5..6), ENOUGH);
    folder.published(&chunk, 2, false).unwrap();
    assert_eq!(segments(folder.dir()).len(), 2);
    assert_eq!(folder.frames(), 4);
    let chunk = folder.front().unwrap();
    folder.published(&chunk, 2, false).unwrap();
    let last = folder.front().unwrap();
    folder.append(&entries(6..7), ENOUGH);
    folder.published(&last, 2, false).unwrap();
    assert_eq!(take_all(&mut folder).0, entries(6..7));
}

#[test]
fn a_full_spool_takes_what_fits_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut folder = Folder::claim(dir.path(), &holder(7)).unwrap();
    let limit = 2 * entry(0, 20).size();
    let full = Err(SpoolFailure::Full { max_bytes: limit });
    let some = [entry(0, 20), entry(1, 500), entry(2, 20), entry(3, 20)];
    assert_eq!(folder.append(&some, limit), [Ok(()), full.clone(), Ok(()), full]);
    assert_eq!(take_all(&mut folder).0, [entry(0, 20), entry(2, 20)]);
    assert_eq!(folder.append(&[entry(4, 20)], limit), [Ok(())]);
}

/// A disk of its own for one folder; none where this user may not mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(at)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: this user may not mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_and_heals() {
    let dir = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk")) else { return };
    let mut folder = Folder::claim(&disk.0, &holder(7)).unwrap();
    let mut stored = Vec::new();
    let failure = loop {
        let next = entry(stored.len() as u64, 30_000);
        match folder.append(std::slice::from_ref(&next), ENOUGH).remove(0) {
            Ok(()) => stored.push(next),
            Err(failure) => break failure,
        }
    };
    assert!(stored.len() > 3, "{failure}");
    // It could be taken back, so it is known not to be there.
    assert!(matches!(failure, SpoolFailure::Unwritable { .. }), "{failure:?}");
    // Small ones may still fit; none of them stands behind half an entry.
    let small = entry(200, 10);
    if folder.append(std::slice::from_ref(&small), ENOUGH) == [Ok(())] {
        stored.push(small);
    }
    drop(folder);
    let mut folder = Folder::claim(&disk.0, &holder(7)).unwrap();
    assert_eq!(take_all(&mut folder), (stored, false));
    assert_eq!(folder.append(&[entry(1, 30_000)], ENOUGH), [Ok(())]);
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_said_and_tried_again() {
    let dir = TempDir::new().unwrap();
    let blocked = dir.path().join("spool");
    fs::write(&blocked, "not a folder").unwrap();
    let spool =
        Spool::open(config(&blocked, ENOUGH), ProducerId(uuid::Uuid::nil()), Namespace::default());
    let problem = spool.status().problem.unwrap();
    assert!(problem.contains(&blocked.display().to_string()), "{problem}");
    let log =
        std::sync::Arc::new(crate::MemoryLog::new(Namespace::default(), std::num::NonZeroU16::MIN));
    let run = tokio::spawn(spool.clone().run(log));
    let refused = spool.append(entry(1, 20)).await;
    assert!(matches!(refused, Err(SpoolFailure::Unwritable { .. })), "{refused:?}");
    fs::remove_file(&blocked).unwrap();
    let mut status = spool.watch();
    let healed = status.wait_for(|status| status.problem.is_none());
    timeout(Duration::from_secs(10), healed).await.unwrap().unwrap();
    let began = Instant::now();
    assert_eq!(spool.append(entry(1, 20)).await, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(5));
    run.abort();
}
