//! Arenas in files: which file, how long, and whose.
//!
//! A file is mapped by one workspace at a time. What says so is a lock on the file, which other
//! processes see, and a list of the files of this process, which knows the workspace's id. Both end
//! with the mapping: at `destroy_workspace`, or when the last lease on it is given back.

use crate::block::Block;
use crate::config::{LocationPolicy, WorkspaceConfiguration};
use crate::error::{Error, Result};

pub(crate) use system::Made;

/// The arena of a workspace whose configuration wants it in a file, and what was made for it. `old`: the
/// arena that it replaces, which hands on its lock if it is the same file.
pub(crate) fn open(
    configuration: &WorkspaceConfiguration,
    id: &str,
    old: Option<&Block>,
) -> Result<Option<(Block, Option<Made>)>> {
    if configuration.policy_location == LocationPolicy::Ram {
        return Ok(None);
    }
    let (block, made) = system::map(configuration, id, old).map_err(|mut error| {
        if let Some(facts) = error.facts_mut() {
            facts.workspace_id = Some(id.to_owned());
        }
        error
    })?;
    if configuration.prefault {
        block.prefault();
    }
    Ok(Some((block, made)))
}

/// The error of a new workspace on the file of an old one that is looked at.
pub(crate) fn still_viewed(configuration: &WorkspaceConfiguration, id: &str) -> Error {
    let path = configuration.temp_file_path.clone().unwrap_or_default();
    let reason = format!(
        "is mapped by workspace [{id}], whose arrays are viewed, or were when a process was forked: drop \
         the views and destroy that workspace first, or name another file"
    );
    Error::configuration("temp_file_path", path.display(), reason)
}

#[cfg(not(all(unix, not(miri))))]
mod system {
    use crate::block::Block;
    use crate::config::WorkspaceConfiguration;
    use crate::error::{Error, Result};

    /// Nothing is ever made.
    #[derive(Debug)]
    pub(crate) enum Made {}

    impl Made {
        pub(crate) fn undo(&self) {
            match *self {}
        }
    }

    pub(super) fn map(
        _: &WorkspaceConfiguration,
        _: &str,
        _: Option<&Block>,
    ) -> Result<(Block, Option<Made>)> {
        let reason = "not available here: files are mapped on Unix only; use RAM";
        Err(Error::configuration("policy_location", "MMAP", reason))
    }
}

#[cfg(all(unix, not(miri)))]
mod system {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, Weak};

    use crate::block::{self, Block};
    use crate::config::WorkspaceConfiguration;
    use crate::error::{Error, Result};
    use crate::fork::FileLock;
    use crate::sync::lock;

    /// Device and inode.
    type Key = (u64, u64);

    /// A file that a workspace of this process has mapped.
    struct Holder {
        key: Key,
        id: String,
        lock: Weak<FileLock>,
    }

    /// One list per depth of forks: a child holds none of its parent's files, and a thread that the
    /// fork did not bring along may have held the lock of the list.
    static HOLDERS: [Mutex<Vec<Holder>>; 16] = [const { Mutex::new(Vec::new()) }; 16];

    fn holders() -> MutexGuard<'static, Vec<Holder>> {
        lock(&HOLDERS[usize::try_from(block::forks()).unwrap_or(0) % HOLDERS.len()])
    }

    /// A file that was missing or empty before it was made for a workspace.
    #[derive(Debug)]
    pub(crate) struct Made {
        pub(super) path: PathBuf,
        pub(super) key: Key,
        pub(super) was_missing: bool,
    }

    impl Made {
        /// Missing or empty again, unless the path names another file by now. While it is locked, as nobody
        /// else may have it.
        pub(crate) fn undo(&self) {
            let is_it = |found: &fs::Metadata| (found.dev(), found.ino()) == self.key;
            if self.was_missing {
                if fs::symlink_metadata(&self.path).is_ok_and(|found| is_it(&found)) {
                    let _ = fs::remove_file(&self.path); // the refusal is what is told
                }
            } else if let Ok(file) = writable().open(&self.path) {
                if file.metadata().is_ok_and(|found| is_it(&found) && found.len() > 0) {
                    let _ = file.set_len(0);
                }
            }
        }
    }

    pub(super) fn map(
        configuration: &WorkspaceConfiguration,
        id: &str,
        old: Option<&Block>,
    ) -> Result<(Block, Option<Made>)> {
        let size = configuration.initial_size;
        if configuration.temp_file_path.is_some() {
            return map_named(configuration, id, old);
        }
        let mapped = map_temporary(size).map_err(|e| {
            let folder = std::env::temp_dir();
            let reason = format!("no temporary file of so many bytes in {}: {e}", folder.display());
            Error::configuration("initial_size", size, reason)
        });
        mapped.map(|block| (block, None))
    }

    /// A file without a name, which ends with its mapping.
    fn map_temporary(size: u64) -> io::Result<Block> {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let folder = std::env::temp_dir();
        let mut options = writable();
        options.create_new(true).mode(0o600);
        loop {
            let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("ndarena-{}-{serial}", std::process::id()));
            match options.open(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    fs::remove_file(&path)?;
                    block::reserve_on_disk(&file, size)?;
                    return Block::map_file(&file, size, None);
                }
            }
        }
    }

    fn map_named(
        configuration: &WorkspaceConfiguration,
        id: &str,
        old: Option<&Block>,
    ) -> Result<(Block, Option<Made>)> {
        let path = configuration.temp_file_path.as_deref().unwrap_or(Path::new(""));
        let size = configuration.initial_size;
        check_kind(path)?;
        let (file, was_missing) = open_or_create(path, size)?;
        let key = key_of(&file).map_err(|e| refused(path, format!("cannot be examined: {e}")))?;
        let made = || Made { path: path.to_owned(), key, was_missing };
        let lock = match old.and_then(Block::file_lock).filter(|lock| is_held(key, lock)) {
            Some(lock) if lock.is_viewed() => {
                return Err(crate::mapping::still_viewed(configuration, id));
            }
            Some(lock) => Arc::clone(lock),
            None => claim(path, file, &made(), id)?,
        };
        let found = lock.metadata().map_err(|e| unusable(path, &e))?.len();
        let made = (found == 0).then(made);
        let mapped = agreed_size(path, size, found)
            .and_then(|size| map_locked(path, size, key, &lock))
            .inspect_err(|_| made.iter().for_each(Made::undo));
        mapped.map(|block| (block, made))
    }

    /// The mapping has a descriptor of its own, as the lock's does not live in forked children.
    fn map_locked(path: &Path, size: u64, key: Key, lock: &Arc<FileLock>) -> Result<Block> {
        let file = writable().open(path).map_err(|e| unusable(path, &e))?;
        if !key_of(&file).is_ok_and(|found| found == key) {
            return Err(refused(path, "was replaced by another file while it was opened"));
        }
        let reserved = block::reserve_on_disk(&file, size);
        let mapped = reserved.and_then(|()| Block::map_file(&file, size, Some(Arc::clone(lock))));
        mapped.map_err(|e| {
            let reason =
                format!("the file {} cannot hold and map so many bytes: {e}", path.display());
            Error::configuration("initial_size", size, reason)
        })
    }

    /// That of the configuration, else that of the file; never more than an existing file has.
    fn agreed_size(path: &Path, asked: u64, found: u64) -> Result<u64> {
        let file = path.display();
        match (asked, found) {
            (0, 0) => Err(sizeless(path)),
            (0, found) => Ok(found),
            (asked, 0) => Ok(asked),
            (asked, found) if found < asked => {
                let reason = format!(
                    "the file {file} has {found} bytes, {asked} are asked for, and an existing file is \
                     neither cut nor enlarged: ask for at most {found}, or name another file"
                );
                Err(Error::configuration("initial_size", asked, reason))
            }
            (asked, _) => Ok(asked),
        }
    }

    fn open_or_create(path: &Path, size: u64) -> Result<(File, bool)> {
        loop {
            match writable().open(path) {
                Err(e) if e.kind() == ErrorKind::NotFound && size == 0 => {
                    return Err(sizeless(path));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                opened => return opened.map(|f| (f, false)).map_err(|e| unusable(path, &e)),
            }
            match writable().create_new(true).open(path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists && path.exists() => {}
                created => return created.map(|f| (f, true)).map_err(|e| unusable(path, &e)),
            }
        }
    }

    /// Before it is opened, as opening a pipe or a device has effects.
    fn check_kind(path: &Path) -> Result<()> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(refused(path, "is a directory, not a file")),
            Ok(found) if !found.is_file() => {
                Err(refused(path, "is a pipe, socket or device, not a file"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the lock of that file, taken in this process.
    fn is_held(key: Key, lock: &Arc<FileLock>) -> bool {
        let by = |holder: &Holder| holder.key == key && holder.lock.as_ptr() == Arc::as_ptr(lock);
        holders().iter().any(by)
    }

    /// Takes the lock, and notes for whom.
    fn claim(path: &Path, file: File, made: &Made, id: &str) -> Result<Arc<FileLock>> {
        let key = made.key;
        let mut holders = holders();
        holders.retain(|holder| holder.lock.strong_count() > 0);
        if let Some(holder) = holders.iter().find(|holder| holder.key == key) {
            let reason = format!(
                "is mapped by workspace [{}] of this process: destroy that and drop the views on its \
                 arrays first, or name another file",
                holder.id
            );
            return Err(refused(path, reason));
        }
        let lock = FileLock::take(file).map(Arc::new).map_err(|e| {
            if e.kind() == ErrorKind::WouldBlock {
                let who = who_locks(key); // and what was made is theirs
                return refused(path, format!("is mapped or locked by {who}; name another file"));
            }
            if made.was_missing {
                made.undo();
            }
            refused(path, format!("cannot be locked: {e}"))
        })?;
        holders.push(Holder { key, id: id.to_owned(), lock: Arc::downgrade(&lock) });
        Ok(lock)
    }

    /// A process, else one that it forked: the kernel knows who took the lock, not who has it still.
    fn who_locks(key: Key) -> String {
        let Some(pid) = process_holding(key) else { return "another process".to_owned() };
        if pid == std::process::id() {
            return format!("process {pid}, which is this one, or by one forked from it");
        }
        if Path::new("/proc").join(pid.to_string()).exists() {
            return format!("process {pid}");
        }
        format!("a process forked from {pid}, which has ended")
    }

    /// As the kernel lists it: `1: FLOCK ADVISORY WRITE 1234 fe:00:10445342 0 EOF`.
    #[cfg(target_os = "linux")]
    fn process_holding((device, inode): Key) -> Option<u32> {
        let file = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let holds = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file.as_str());
            holds.then(|| words.get(4)?.parse().ok()).flatten().filter(|&pid| pid > 0)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn process_holding(_: Key) -> Option<u32> {
        None
    }

    fn writable() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        options
    }

    fn key_of(file: &File) -> io::Result<Key> {
        file.metadata().map(|found| (found.dev(), found.ino()))
    }

    fn refused(path: &Path, reason: impl Into<String>) -> Error {
        Error::configuration("temp_file_path", path.display(), reason)
    }

    fn unusable(path: &Path, error: &io::Error) -> Error {
        refused(path, format!("cannot be opened for reading and writing: {error}"))
    }

    fn sizeless(path: &Path) -> Error {
        let reason = format!(
            "the file {} is missing or empty, so nothing says how long it is to be: give initial_size",
            path.display()
        );
        Error::configuration("initial_size", 0, reason)
    }
}

#[cfg(all(test, unix, not(miri)))]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use crate::mapping::Made;

    #[test]
    fn what_was_made_is_undone_unless_it_is_another_file_by_now() {
        let folder = std::env::temp_dir().join(format!("ndarena-made-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (path, other) = (folder.join("arena"), folder.join("other"));
        for was_missing in [true, false] {
            fs::write(&path, b"made").unwrap();
            let found = fs::metadata(&path).unwrap();
            let key = (found.dev(), found.ino());
            let made = Made { path: path.clone(), key, was_missing };
            fs::rename(&path, folder.join("moved")).unwrap();
            fs::write(&other, b"precious").unwrap();
            fs::rename(&other, &path).unwrap();
            made.undo();
            assert_eq!(fs::read(&path).unwrap(), b"precious");
            fs::rename(folder.join("moved"), &path).unwrap();
            made.undo();
            assert_eq!(path.exists(), !was_missing);
            assert!(was_missing || fs::read(&path).unwrap().is_empty());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
