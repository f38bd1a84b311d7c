//! A program on a terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command},
    sync::mpsc::{self, Receiver},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
};

use super::process::LONGEST_WAIT;

/// A program whose standard input, output and error are a terminal. Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs a program.
    pub fn run(mut command: Command) -> Self {
        // Programs that other tests run meanwhile must not get it too: it would stay open as long as they do.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let tty = ioctl_tiocgptpeer(&master, flags).unwrap();
        command.stdin(tty.try_clone().unwrap()).stdout(tty.try_clone().unwrap()).stderr(tty);
        let child = command.spawn().unwrap();
        drop(command); // or the terminal would not end with the program
        let keyboard = File::from(master);
        let screen = read(keyboard.try_clone().unwrap());
        Self { child, keyboard, screen, seen: String::new() }
    }

    /// Waits until it has printed this.
    pub fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let more = self.screen.recv_timeout(LONGEST_WAIT);
            let more = more.unwrap_or_else(|error| panic!("{error}: no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// What the terminal does at Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits until it has ended: its exit code, and all that was on the screen.
    pub fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.screen.recv_timeout(LONGEST_WAIT) {
                Ok(more) => self.seen.push_str(&String::from_utf8_lossy(&more)),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", self.seen),
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What appears on the screen, until nobody has the terminal any more.
fn read(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, screen) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = master.read(&mut bytes) {
            if sender.send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    screen
}
