//! What this machine can do at most at the work a node does with content: the ceilings beside the node's own figures.
//!
//! `limit import FILE DIR` reads a file, sends it through a loopback socket, hashes it in pieces of 256 KiB and writes it to a
//! new file in DIR, all at the same time, and syncs that file; `limit files DIR FOLDERS FILES BYTES` creates so many files in
//! each of so many folders, one after another. Both print seconds. Driven by `benches/content.sh`.
#![allow(clippy::disallowed_methods)]

use std::{
    error::Error,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::mpsc::sync_channel,
    thread,
    time::Instant,
};

use sha2::{Digest, Sha256};

type Fail = Box<dyn Error + Send + Sync>;

const PIECE_BYTES: usize = 256 * 1024;
/// Pieces on their way between two steps.
const QUEUE: usize = 16;

fn main() -> Result<(), Fail> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let begin = Instant::now();
    match arguments.as_slice() {
        ["import", file, dir] => import(Path::new(file), Path::new(dir))?,
        ["files", dir, folders, files, bytes] => {
            create(Path::new(dir), folders.parse()?, files.parse()?, bytes.parse()?)?
        }
        _ => return Err("usage: limit import FILE DIR | limit files DIR FOLDERS FILES BYTES".into()),
    }
    println!("{:.3}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn import(file: &Path, dir: &Path) -> Result<(), Fail> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let mut source = File::open(file)?;
    let sender = thread::spawn(move || -> Result<(), Fail> {
        let mut socket = TcpStream::connect(address)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match source.read(&mut piece)? {
                0 => return Ok(()),
                n => socket.write_all(&piece[..n])?,
            }
        }
    });
    let (to_hash, hashing) = sync_channel::<Vec<u8>>(QUEUE);
    let (to_write, writing) = sync_channel::<Vec<u8>>(QUEUE);
    let hasher = thread::spawn(move || -> Result<(), Fail> {
        for piece in hashing {
            std::hint::black_box(Sha256::digest(&piece));
            to_write.send(piece)?;
        }
        Ok(())
    });
    let mut target = File::create_new(dir.join("segment"))?;
    let writer = thread::spawn(move || -> Result<(), Fail> {
        for piece in writing {
            target.write_all(&piece)?;
        }
        Ok(target.sync_data()?)
    });
    let (mut socket, _) = listener.accept()?;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if (&mut socket).take(PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 {
            break;
        }
        to_hash.send(piece)?;
    }
    drop(to_hash);
    for step in [sender, hasher, writer] {
        step.join().map_err(|_| "a step panicked")??;
    }
    Ok(())
}

fn create(dir: &Path, folders: usize, files: usize, bytes: usize) -> Result<(), Fail> {
    let data = vec![0x5a; bytes];
    for folder in 0..folders {
        let folder = dir.join(format!("{folder:04}"));
        std::fs::create_dir_all(&folder)?;
        for file in 0..files {
            File::create_new(folder.join(format!("{file:06}")))?.write_all(&data)?;
        }
    }
    Ok(())
}
