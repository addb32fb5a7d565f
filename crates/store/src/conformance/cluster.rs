//! A PostgreSQL server of the tests' own: made for one test binary, on loopback, and gone with it, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where Debian keeps the programs of each version; the newest one is used.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// The user that owns the server where the tests run as root, which PostgreSQL refuses to run as.
const USER: &str = "postgres";

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    dir: PathBuf,
    port: u16,
    /// Ends the server once the other end of its input is closed: also when this process is killed.
    _keeper: Child,
}

impl Cluster {
    /// The server that all tests of this binary share.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or cannot be started.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A server of its own, with these lines in its settings.
    ///
    /// # Panics
    /// As [`Self::shared`].
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let (programs, dir) = (programs(), new_folder());
        let data = dir.join("data");
        let mut init = as_user(&programs.join("initdb"));
        init.args(["-A", "trust", "-U", "posthaste", "--data-checksums", "--locale=C.UTF-8", "-D"]).arg(&data);
        run(&mut init);
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'",
            "max_connections = 300",
            "shared_buffers = 64MB",
            "max_wal_size = 256MB",
        ];
        lines.extend(settings);
        Self::over(programs, dir, &lines)
    }

    /// A server that follows this one, and has everything that is committed here from the time that this returns on, until it
    /// is gone or promoted.
    ///
    /// # Panics
    /// As [`Self::shared`].
    #[must_use]
    pub fn standby(&self) -> Self {
        let dir = new_folder();
        let mut copy = as_user(&self.programs.join("pg_basebackup"));
        let from = format!("host=127.0.0.1 port={} user=posthaste application_name=standby", self.port);
        copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &from, "-D"]).arg(dir.join("data"));
        run(&mut copy);
        let standby = Self::over(self.programs.clone(), dir, &["synchronous_standby_names = ''"]);
        self.run_sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.run_sql("postgres", "SELECT pg_reload_conf()");
        let sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        // Each look takes a process: that is pause enough.
        let follows = (0..2_000).any(|_| self.run_sql("postgres", sync) == "1");
        assert!(follows, "the standby follows");
        standby
    }

    /// Makes a standby the server that takes writes.
    ///
    /// # Panics
    /// If it cannot be promoted.
    pub fn promote(&self) {
        self.control(&["-w", "-t", "60", "promote"]);
    }

    /// Starts a server over what is in its folder, with these lines in its settings, on a port of its own.
    fn over(programs: PathBuf, dir: PathBuf, settings: &[&str]) -> Self {
        let (data, port) = (dir.join("data"), free_port());
        let mut lines =
            vec![String::new(), format!("port = {port}"), format!("unix_socket_directories = '{}'", dir.display())];
        lines.extend(settings.iter().map(|&line| line.to_owned()));
        write(&data.join("postgresql.conf"), &lines.join("\n"), true);
        let keeper = keep(&programs, &dir, &data);
        let cluster = Self { programs, dir, port, _keeper: keeper };
        cluster.control(&["-w", "-t", "60", "start"]);
        cluster
    }

    /// The address of a new, empty database.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.run_sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address(&name)
    }

    /// Where it is, for an address that names several hosts.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of a database.
    #[must_use]
    pub fn address(&self, database: &str) -> String {
        format!("postgres://posthaste@127.0.0.1:{}/{database}", self.port)
    }

    /// Writes a file of the server's own, such as `pg_hba.conf`, which it reads at its next start.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        write(&self.dir.join("data").join(name), text, false);
    }

    /// What a statement answers, as psql prints it without any ornament.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn run_sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.address(database));
        run(&mut psql)
    }

    /// Everything in a database, as text: its bytes in hexadecimal.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn dump(&self, address: &str) -> String {
        run(Command::new(self.programs.join("pg_dump")).arg(address))
    }

    /// The folder with the server's files.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Stops the server at once, as a crash does, and starts it again: what is committed is there.
    ///
    /// # Panics
    /// If it cannot be stopped or started.
    pub fn crash(&self) {
        self.stop();
        self.start_again();
    }

    /// Stops the server at once, as a crash does.
    ///
    /// # Panics
    /// If it cannot be stopped.
    pub fn stop(&self) {
        self.control(&["-m", "immediate", "-w", "stop"]);
    }

    /// Starts the server that [`Self::stop`] has stopped.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_again(&self) {
        self.control(&["-w", "-t", "60", "start"]);
    }

    /// Lets every process of the server stand still, as a machine that hangs does: it takes connections, and says nothing.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let noted = std::fs::read_to_string(self.files().join("postmaster.pid")).expect("it runs");
        let server: u32 = noted.lines().next().expect("a line").parse().expect("a number");
        // The server itself first: it makes no further process then.
        signal("STOP", &[server.to_string()]);
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("it runs");
        let mut all: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        signal("STOP", &all);
        all.push(server.to_string());
        Frozen(all)
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Empties the server's log.
    ///
    /// # Panics
    /// If it cannot be emptied.
    pub fn forget_log(&self) {
        run(as_user(Path::new("sh")).arg("-c").arg(format!(": > '{}'", self.dir.join("log").display())));
    }

    fn control(&self, what: &[&str]) {
        let mut control = as_user(&self.programs.join("pg_ctl"));
        control.arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.dir.join("log")).args(what);
        // The server inherits what is open: were its output ours, nobody would see the end of it.
        let status = control.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let log = self.log();
        assert!(status.expect("pg_ctl is there").success(), "pg_ctl {what:?}: {log}");
    }
}

/// The processes of a server that stand still until this is dropped.
#[derive(Debug)]
pub struct Frozen(Vec<String>);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

fn signal(name: &str, processes: &[String]) {
    run(as_user(Path::new("kill")).arg(format!("-{name}")).args(processes));
}

/// Writes a file that nobody but the server's owner may read.
fn write(file: &Path, text: &str, append: bool) {
    let script = format!("umask 077; cat {} '{}'", if append { ">>" } else { ">" }, file.display());
    let mut writing = as_user(Path::new("sh"));
    let mut writing = writing.arg("-c").arg(script).stdin(Stdio::piped()).spawn().expect("sh is there");
    std::io::Write::write_all(&mut writing.stdin.take().expect("its input"), text.as_bytes()).expect("it is written");
    assert!(writing.wait().expect("it ends").success(), "{} is written", file.display());
}

/// A new folder for a server, which its owner may use.
fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("posthaste-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    if is_root() {
        run(Command::new("install").args(["-d", "-m", "700", "-o", USER, "-g", USER]).arg(&dir));
    } else {
        std::fs::create_dir(&dir).expect("a new directory");
    }
    dir
}

/// A process that waits for the end of this one, then stops the server and removes what it has left.
fn keep(programs: &Path, dir: &Path, data: &Path) -> Child {
    use std::os::unix::process::CommandExt as _;
    let script = format!(
        "cat > /dev/null; '{}' -D '{}' -m immediate stop > /dev/null 2>&1; rm -rf '{}'",
        programs.join("pg_ctl").display(),
        data.display(),
        dir.display()
    );
    let mut keeper = as_user(Path::new("sh"));
    keeper.arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    keeper.spawn().expect("sh is there")
}

/// A program, run as somebody that PostgreSQL runs as, in a directory that they may be in.
fn as_user(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn programs() -> PathBuf {
    let found = std::fs::read_dir(PROGRAMS).expect("PostgreSQL is installed: apt-get install postgresql");
    let version = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0);
    let newest = found.map(|entry| entry.expect("an entry")).max_by_key(version);
    newest.expect("PostgreSQL is installed").path().join("bin")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Runs a program to its end, and gives what it has printed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
