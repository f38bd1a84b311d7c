//! Starts the gateway as a child process, watches its memory, pairs with it and stops it.
//!
//! It knows of the gateway only what any script knows: the start banner of `--print-json`, `POST /pair`, and that
//! SIGTERM ends it. Everything here blocks, and nothing here runs while a load is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often an ending process is looked at.
const POLL: Duration = Duration::from_millis(2);
/// How long `pair` waits for an answer.
const PAIR_TIMEOUT: Duration = Duration::from_secs(10);

/// The start banner of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// Where it answers, e.g. `http://127.0.0.1:3000`.
    pub url: String,
    /// The address in `url`.
    pub addr: SocketAddr,
    /// The code to pair with, if there is one.
    pub pairing_code: Option<String>,
    /// The path of its database.
    pub database: String,
}

impl Banner {
    fn parse(line: &str) -> Result<Self, String> {
        let field = |name| string_field(line, name).ok_or_else(|| format!("a banner without {name}: {line}"));
        let url = field("url")?;
        let authority = url.strip_prefix("http://").unwrap_or(&url).trim_end_matches('/');
        let addr = authority.to_socket_addrs().ok().and_then(|mut found| found.next());
        let addr = addr.ok_or_else(|| format!("a banner with an address that is none: {line}"))?;
        Ok(Self { addr, pairing_code: string_field(line, "pairing_code"), database: field("database")?, url })
    }
}

/// The memory of a process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident_kib: u64,
    /// The most that ever was resident (`VmHWM`).
    pub peak_kib: u64,
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    banner: Banner,
}

impl Process {
    /// Starts `command`, which says the program, its arguments and its environment, and waits for its banner: the
    /// first line of its standard output that is a JSON object. Later output is read and dropped.
    ///
    /// # Errors
    /// When it does not start, ends early, or prints no banner within `patience`; it is not left running then.
    pub fn start(mut command: Command, patience: Duration) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = Guard(Some(child.map_err(|problem| format!("cannot start {name}: {problem}"))?));
        let output = child.0.as_mut().and_then(|child| child.stdout.take());
        let output = output.ok_or_else(|| format!("{name} has no standard output"))?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || read_output(output, &sender));
        let line = receiver.recv_timeout(patience).map_err(|problem| match problem {
            mpsc::RecvTimeoutError::Timeout => format!("{name} printed no banner within {patience:?}"),
            mpsc::RecvTimeoutError::Disconnected => format!("{name} ended without printing a banner"),
        })?;
        let banner = Banner::parse(&line)?;
        let child = child.0.take().ok_or_else(|| format!("{name} is gone"))?;
        Ok(Self { child, banner })
    }

    /// What it printed when it started.
    #[must_use]
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its memory now, from `/proc`.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<Memory, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).map_err(|problem| format!("{path}: {problem}"))?;
        parse_memory(&status).ok_or_else(|| format!("{path} has no VmRSS or VmHWM: the process has ended"))
    }

    /// The processor time that it has used, of all its threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).map_err(|problem| format!("{path}: {problem}"))?;
        parse_cpu(&stat).ok_or_else(|| format!("{path} is not as proc(5) says"))
    }

    /// Asks it to end with SIGTERM and waits until it has.
    ///
    /// # Errors
    /// When it cannot be asked, or has not ended within `patience`; it is killed then.
    pub fn stop(mut self, patience: Duration) -> Result<ExitStatus, String> {
        let id = self.child.id().to_string();
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        // The shell's own `kill`: small systems have no program of that name.
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        if !asked.is_ok_and(|status| status.success()) {
            return Err(format!("cannot send SIGTERM to process {id}"));
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        Err(format!("process {id} did not end within {patience:?} of SIGTERM"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child
            .try_wait()
            .map_err(|problem| format!("cannot wait for process {}: {problem}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is killed unless it is taken out.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// Kills a child that still runs, and reaps it.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Sends the first line that is a JSON object, then reads on so that the child never waits for a reader.
fn read_output(output: ChildStdout, banner: &mpsc::Sender<String>) {
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if line.trim_ascii().starts_with(b"{") && line.trim_ascii().ends_with(b"}") {
            drop(banner.send(String::from_utf8_lossy(line.trim_ascii()).into_owned()));
            drop(std::io::copy(&mut lines, &mut std::io::sink()));
            return;
        }
        line.clear();
    }
}

/// `utime` and `stime`, the 14th and 15th field, in hundredths of a second; the second field may hold spaces.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kib = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim_end().parse().ok()
    };
    Some(Memory { resident_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
}

/// Pairs with the gateway at `addr` and returns the token.
///
/// # Errors
/// When the gateway cannot be reached or refuses; the answer is in the error then.
pub fn pair(addr: SocketAddr, code: &str) -> Result<String, String> {
    let answer = post_pair(addr, code).map_err(|problem| format!("cannot pair with {addr}: {problem}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let token = string_field(body, "token").filter(|_| status.split(' ').nth(1) == Some("200"));
    token.ok_or_else(|| format!("pairing with {addr} was refused: {status} {body}"))
}

fn post_pair(addr: SocketAddr, code: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PAIR_TIMEOUT)?;
    stream.set_read_timeout(Some(PAIR_TIMEOUT))?;
    let request = format!(
        "POST /pair HTTP/1.1\r\nHost: localhost\r\nX-Pairing-Code: {code}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The string called `name` in a flat JSON object; `None` when it is missing, `null` or no string.
///
/// A quote within a JSON string is escaped, so `"name"` with its quotes can only be a whole string, and only a name
/// has a colon after it.
fn string_field(json: &str, name: &str) -> Option<String> {
    let quoted = format!("\"{name}\"");
    let value = json.split(&quoted).skip(1).find_map(|rest| rest.trim_start().strip_prefix(':'))?;
    let mut rest = value.trim_start().strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(unescape(&mut rest)?),
            other => text.push(other),
        }
    }
}

/// What follows a backslash (RFC 8259 section 7); characters beyond U+FFFF are read only where they are not escaped.
fn unescape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    match rest.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'u' => {
            let digits: String = rest.take(4).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
        }
        same => Some(same),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const BANNER: &str = r#"{"url":"http://127.0.0.1:4567","pairing_code":"123456","database":"/tmp/a.db"}"#;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("BANNER", BANNER);
        command
    }

    /// A server for one connection: reads a head, sends `answer`, returns the head.
    fn answer_once(answer: &'static str) -> std::io::Result<(SocketAddr, thread::JoinHandle<Vec<String>>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let server = thread::spawn(move || {
            let Ok((mut stream, _)) = listener.accept() else { return Vec::new() };
            let Ok(copy) = stream.try_clone() else { return Vec::new() };
            let head = BufReader::new(copy).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head = head.collect();
            drop(stream.write_all(answer.as_bytes()));
            head
        });
        Ok((addr, server))
    }

    #[test]
    fn a_banner_is_read_field_by_field() -> Result<(), String> {
        let banner = Banner::parse(BANNER)?;
        assert_eq!((banner.url.as_str(), banner.addr.port()), ("http://127.0.0.1:4567", 4567));
        assert_eq!((banner.pairing_code.as_deref(), banner.database.as_str()), (Some("123456"), "/tmp/a.db"));
        let paired = Banner::parse(&BANNER.replace("\"123456\"", "null"))?;
        assert_eq!(paired.pairing_code, None);
        for broken in ["{}", r#"{"url":"http://127.0.0.1:1"}"#, r#"{"url":"nowhere","database":"x"}"#] {
            assert!(Banner::parse(broken).is_err(), "{broken}");
        }
        Ok(())
    }

    #[test]
    fn a_string_is_unescaped_and_never_taken_from_inside_another() {
        let json = r#"{"a":"\"b\":\"no\" b","b" : "q\"\\\/\u00e9\n—","c":7,"d":null,"e":"b"}"#;
        assert_eq!(string_field(json, "a").as_deref(), Some("\"b\":\"no\" b"));
        assert_eq!(string_field(json, "b").as_deref(), Some("q\"\\/é\n—"));
        for missing in ["c", "d", "z", "no"] {
            assert_eq!(string_field(json, missing), None, "{missing}");
        }
        assert_eq!(string_field(r#"{"a":"cut"#, "a"), None);
    }

    #[test]
    fn memory_is_in_the_status_file() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t    5678 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident_kib: 1234, peak_kib: 5678 }));
        assert_eq!(parse_memory("Name:\tzombie\n"), None);
    }

    #[test]
    fn a_process_is_started_watched_and_stopped() -> Result<(), String> {
        let script = "trap 'exit 7' TERM; echo starting; echo \"$BANNER\"; while :; do sleep 0.01; done";
        let process = Process::start(shell(script), PATIENCE)?;
        assert_eq!(process.banner(), &Banner::parse(BANNER)?);
        let memory = process.memory()?;
        assert!(0 < memory.resident_kib && memory.resident_kib <= memory.peak_kib, "{memory:?}");
        assert_eq!(process.stop(PATIENCE)?.code(), Some(7));
        Ok(())
    }

    #[test]
    fn a_process_that_prints_much_after_its_banner_is_not_held_up() -> Result<(), String> {
        let script = "echo \"$BANNER\"; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; exit 3";
        let mut process = Process::start(shell(script), PATIENCE)?;
        let status = process.child.wait().map_err(|problem| problem.to_string())?;
        assert_eq!(status.code(), Some(3));
        assert_eq!(process.stop(PATIENCE)?.code(), Some(3), "it had ended by itself");
        Ok(())
    }

    #[test]
    fn a_process_that_does_not_end_in_time_is_killed() -> Result<(), String> {
        let script = "trap '' TERM; echo \"$BANNER\"; while :; do sleep 0.01; done";
        let process = Process::start(shell(script), PATIENCE)?;
        let path = format!("/proc/{}", process.id());
        assert!(
            process.stop(Duration::from_millis(50)).is_err_and(|problem| problem.contains("did not end"))
        );
        assert!(!std::path::Path::new(&path).exists());
        Ok(())
    }

    #[test]
    fn a_dropped_process_is_gone() -> Result<(), String> {
        let process = Process::start(shell("echo \"$BANNER\"; exec sleep 100"), PATIENCE)?;
        let path = format!("/proc/{}", process.id());
        drop(process);
        assert!(!std::path::Path::new(&path).exists());
        Ok(())
    }

    #[test]
    fn a_process_without_a_banner_is_an_error() {
        let ended = Process::start(shell("echo no; exit 1"), PATIENCE).map(drop);
        assert!(ended.is_err_and(|problem| problem.contains("ended without")));
        let silent = Process::start(shell("exec sleep 100"), Duration::from_millis(50)).map(drop);
        assert!(silent.is_err_and(|problem| problem.contains("no banner within")));
        assert!(Process::start(Command::new("/no/such/program"), PATIENCE).map(drop).is_err());
    }

    #[test]
    fn pairing_returns_the_token() -> Result<(), String> {
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"paired\":true,\"token\":\"zc_0a\"}";
        let (addr, server) = answer_once(answer).map_err(|problem| problem.to_string())?;
        assert_eq!(pair(addr, "123456")?, "zc_0a");
        let head = server.join().map_err(|_| "the server panicked")?;
        assert_eq!(head[0], "POST /pair HTTP/1.1");
        assert!(head.contains(&"X-Pairing-Code: 123456".to_owned()), "{head:?}");
        Ok(())
    }

    #[test]
    fn a_refusal_to_pair_is_told() -> Result<(), String> {
        let answer = "HTTP/1.1 403 Forbidden\r\n\r\n{\"error\":\"Invalid pairing code\",\"token\":\"no\"}";
        let (addr, _server) = answer_once(answer).map_err(|problem| problem.to_string())?;
        assert!(pair(addr, "000000").is_err_and(|problem| problem.contains("Invalid pairing code")));
        Ok(())
    }
}
