//! Prints what a cell costs: `/bin/true` bare and confined, interleaved, medians of 60.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example that measures and prints"
)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use placet_sandbox::{
    Cell, CellSpec, FileIdentity, Limits, Network, Paths, Program, elf_interpreter,
};

const ROUNDS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let spec = spec()?;
    let mut columns = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let bare = Instant::now();
        std::process::Command::new(&spec.program.path).status()?;
        let times = [vec![bare.elapsed()], confined(&spec)?].concat();
        columns
            .iter_mut()
            .zip(times)
            .for_each(|(column, time)| column.push(time));
    }
    for (name, column) in ["bare", "prepare", "prepare+spawn", "to exit"]
        .iter()
        .zip(&mut columns)
    {
        column.sort();
        let median = column.get(ROUNDS / 2).copied().unwrap_or_default();
        let slow = column.get(ROUNDS * 95 / 100).copied().unwrap_or_default();
        println!("{name:>14}: median {median:?}, 95th percentile {slow:?}");
    }
    Ok(())
}

/// Time since the start: prepared, waiting, gone.
fn confined(spec: &CellSpec) -> Result<Vec<Duration>, Box<dyn Error>> {
    let start = Instant::now();
    let prepared = Cell::prepare(spec.clone())?;
    let mut times = vec![start.elapsed()];
    let waiting = prepared.spawn()?;
    times.push(start.elapsed());
    waiting.release()?.wait()?;
    times.push(start.elapsed());
    Ok(times)
}

fn spec() -> Result<CellSpec, Box<dyn Error>> {
    let path = std::fs::canonicalize("/bin/true")?;
    let mut exec = vec![path.clone()];
    if let Some(interpreter) = elf_interpreter(&path)? {
        exec.push(std::fs::canonicalize(interpreter)?);
    }
    let identity = FileIdentity::of_path(&path)?;
    let libraries = ["/usr/lib", "/usr/lib64"].map(Path::new);
    let read = libraries.iter().flat_map(std::fs::canonicalize).collect();
    Ok(CellSpec {
        program: Program {
            path,
            identity,
            argv: vec!["true".into()],
        },
        env: Vec::new(),
        cwd: "/".into(),
        paths: Paths {
            read,
            exec,
            tmp_bytes_max: 1 << 20,
            ..Paths::default()
        },
        network: Network::Loopback,
        limits: Limits::default(),
        lease: Duration::from_secs(10),
        door: true,
        client: None,
    })
}
