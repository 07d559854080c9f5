//! Arenas in files: which file, how long, and whose.
//!
//! A file is mapped by one workspace at a time. What says so is a lock on the file, which other
//! processes see, and a list of the files of this process, which knows the workspace's id. Both end
//! with the mapping: at `destroy_workspace`, or when the last lease on it is given back.

use crate::block::Block;
use crate::config::{LocationPolicy, WorkspaceConfiguration};
use crate::error::Result;

/// The arena of a workspace whose configuration wants it in a file.
pub(crate) fn open(configuration: &WorkspaceConfiguration, id: &str) -> Result<Option<Block>> {
    if configuration.policy_location == LocationPolicy::Ram {
        return Ok(None);
    }
    let block = system::map(configuration, id).map_err(|mut error| {
        if let Some(facts) = error.facts_mut() {
            facts.workspace_id = Some(id.to_owned());
        }
        error
    })?;
    if configuration.prefault {
        block.prefault();
    }
    Ok(Some(block))
}

#[cfg(not(all(unix, not(miri))))]
mod system {
    use crate::block::Block;
    use crate::config::WorkspaceConfiguration;
    use crate::error::{Error, Result};

    pub(super) fn map(_: &WorkspaceConfiguration, _: &str) -> Result<Block> {
        let reason = "not available here: files are mapped on Unix only; use RAM";
        Err(Error::configuration("policy_location", "MMAP", reason))
    }
}

#[cfg(all(unix, not(miri)))]
mod system {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, Weak};

    use crate::block::{self, Block, FileLock};
    use crate::config::WorkspaceConfiguration;
    use crate::error::{Error, Result};
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

    pub(super) fn map(configuration: &WorkspaceConfiguration, id: &str) -> Result<Block> {
        let size = configuration.initial_size;
        match &configuration.temp_file_path {
            Some(path) => map_named(Path::new(path), size, id),
            None => map_temporary(size).map_err(|e| {
                let folder = std::env::temp_dir();
                let reason =
                    format!("no temporary file of so many bytes in {}: {e}", folder.display());
                Error::configuration("initial_size", size, reason)
            }),
        }
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

    fn map_named(path: &Path, size: u64, id: &str) -> Result<Block> {
        check_kind(path)?;
        let (file, is_new) = open_or_create(path, size)?;
        let key = key_of(&file).map_err(|e| refused(path, format!("cannot be examined: {e}")))?;
        let lock = claim(path, file, key, id)?;
        let mapped = map_locked(path, size, key, &lock);
        if mapped.is_err() && is_new {
            let _ = fs::remove_file(path); // the refusal is what is told
        }
        mapped
    }

    /// The mapping has a descriptor of its own, as the lock's does not live in forked children.
    fn map_locked(path: &Path, size: u64, key: Key, lock: &Arc<FileLock>) -> Result<Block> {
        let file = writable().open(path).map_err(|e| unusable(path, &e))?;
        if !key_of(&file).is_ok_and(|found| found == key) {
            return Err(refused(path, "was replaced by another file while it was opened"));
        }
        let found = file.metadata().map_err(|e| unusable(path, &e))?.len();
        let size = agreed_size(path, size, found)?;
        let reserved = block::reserve_on_disk(&file, size);
        let mapped = reserved.and_then(|()| Block::map_file(&file, size, Some(Arc::clone(lock))));
        mapped.map_err(|e| {
            if found == 0 {
                let _ = file.set_len(0); // the refusal is what is told
            }
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

    /// Takes the lock, and notes for whom.
    fn claim(path: &Path, file: File, key: Key, id: &str) -> Result<Arc<FileLock>> {
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
        let lock = FileLock::take(file).map(Arc::new).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => {
                let who = process_holding(key)
                    .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                refused(path, format!("is mapped or locked by {who}; name another file"))
            }
            _ => refused(path, format!("cannot be locked: {e}")),
        })?;
        holders.push(Holder { key, id: id.to_owned(), lock: Arc::downgrade(&lock) });
        Ok(lock)
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
