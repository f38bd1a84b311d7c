//! Reads HTTP/1.1 messages off a socket, as cheaply as a benchmark needs.
//!
//! It owns the framing: where a head ends, how long its body is, whether the peer closes afterwards. Bodies are
//! skipped, not kept. One buffer serves a connection for its whole life; nothing is allocated per message. Framing
//! this program never needs (chunked bodies, bodies that end with the connection) is refused, never guessed at.

use std::io;
use std::marker::PhantomData;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one connection's buffer, and so the longest head that can be read.
const BUFFER_BYTES: usize = 16 * 1024;

/// The first line of a message: a request line or a status line.
pub trait StartLine: Copy {
    /// Reads the line, given without its line break.
    ///
    /// # Errors
    /// When this is no such line.
    fn parse(line: &[u8]) -> Result<Self, String>;

    /// How many bytes of body follow a message whose `Content-Length` is `length`.
    ///
    /// # Errors
    /// When the end of the body cannot be known.
    fn body_bytes(self, length: Option<usize>) -> Result<usize, String>;
}

/// A status line, reduced to its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl StartLine for Status {
    fn parse(line: &[u8]) -> Result<Self, String> {
        match line {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ ..] => {
                let digits = code.get(..3).and_then(decimal).and_then(|code| u16::try_from(code).ok());
                digits.filter(|_| matches!(code.get(3), None | Some(b' '))).map(Self)
            }
            _ => None,
        }
        .ok_or_else(|| format!("not a status line: {}", String::from_utf8_lossy(line)))
    }

    fn body_bytes(self, length: Option<usize>) -> Result<usize, String> {
        match self.0 {
            100..200 | 204 | 304 => Ok(0), // RFC 9112 section 6.3: these have no body, whatever their head says
            code => length.ok_or_else(|| format!("a {code} response without Content-Length")),
        }
    }
}

/// One message; its body has been skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<S> {
    /// The first line.
    pub start: S,
    /// Whether the sender closes the connection after this message.
    pub close: bool,
}

/// Cuts a byte stream into messages, however the bytes arrive.
#[derive(Debug)]
pub struct Reader<S> {
    buffer: Box<[u8]>,
    /// `buffer[start..end]` has arrived and is not used yet.
    start: usize,
    end: usize,
    /// A message whose head was read, and how much of its body is still to come.
    unfinished: Option<(Message<S>, usize)>,
    kind: PhantomData<S>,
}

impl<S: StartLine> Default for Reader<S> {
    fn default() -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { buffer, start: 0, end: 0, unfinished: None, kind: PhantomData }
    }
}

impl<S: StartLine> Reader<S> {
    /// The next message of `stream`, or `None` when the peer closed the connection instead.
    ///
    /// # Errors
    /// `InvalidData` for a message this program does not understand, else what the socket reported.
    pub async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message<S>>> {
        loop {
            if let Some(message) =
                self.next().map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?
            {
                return Ok(Some(message));
            }
            let read = stream.read(self.free()).await?;
            if read == 0 {
                return Ok(None);
            }
            self.end += read;
        }
    }

    /// Forgets all that was read: the next bytes come from a new connection.
    pub fn clear(&mut self) {
        (self.start, self.end, self.unfinished) = (0, 0, None);
    }

    /// The next message, if all of it has arrived.
    fn next(&mut self) -> Result<Option<Message<S>>, String> {
        if self.unfinished.is_none() {
            let Some((message, head, body)) = parse_head(&self.buffer[self.start..self.end])? else {
                if self.end - self.start == self.buffer.len() {
                    return Err(format!("a head of more than {BUFFER_BYTES} bytes"));
                }
                return Ok(None);
            };
            self.start += head;
            self.unfinished = Some((message, body));
        }
        let Some((message, body)) = self.unfinished.take() else { return Ok(None) };
        let arrived = body.min(self.end - self.start);
        self.start += arrived;
        if arrived < body {
            self.unfinished = Some((message, body - arrived));
            return Ok(None);
        }
        Ok(Some(message))
    }

    /// Room for more bytes. Never empty: the buffer holds less than one head here, see `next`.
    fn free(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }
}

/// A message, the bytes of its head and the bytes of its body; `None` while the head is incomplete.
fn parse_head<S: StartLine>(bytes: &[u8]) -> Result<Option<(Message<S>, usize, usize)>, String> {
    let Some((line, mut used)) = next_line(bytes, 0) else { return Ok(None) };
    let (mut length, mut close) = (None, false);
    loop {
        let Some((header, after)) = next_line(bytes, used) else { return Ok(None) };
        used = after;
        if header.is_empty() {
            let start = S::parse(line)?;
            return Ok(Some((Message { start, close }, used, start.body_bytes(length)?)));
        }
        if let Some(value) = value_of(header, b"content-length:") {
            length = Some(decimal(value).ok_or("a Content-Length that is not a number")?);
        } else if let Some(value) = value_of(header, b"connection:") {
            close = value.eq_ignore_ascii_case(b"close");
        } else if value_of(header, b"transfer-encoding:").is_some() {
            return Err("a chunked body, which this reader does not read".to_owned());
        }
    }
}

/// The line that starts at `from`, without its line break, and where the next one starts.
fn next_line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = &bytes[from..];
    let length = rest.iter().position(|&byte| byte == b'\n')?;
    let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
    Some((line, from + length + 1))
}

/// The trimmed value of `header`, if it is the one called `name` (lower case, with its colon).
fn value_of<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, value) = header.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// A decimal number made of digits only.
fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_usize, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 5\r\n\r\nhello";

    fn reader_with(bytes: &[u8]) -> Reader<Status> {
        let mut reader = Reader::default();
        reader.free()[..bytes.len()].copy_from_slice(bytes);
        reader.end = bytes.len();
        reader
    }

    /// Feeds `bytes` in pieces of `piece` bytes; the messages in the order they were complete.
    fn feed(bytes: &[u8], piece: usize) -> Result<Vec<Message<Status>>, String> {
        let (mut reader, mut found) = (Reader::<Status>::default(), Vec::new());
        for part in bytes.chunks(piece) {
            reader.free()[..part.len()].copy_from_slice(part);
            reader.end += part.len();
            while let Some(message) = reader.next()? {
                found.push(message);
            }
        }
        if reader.start == reader.end && reader.unfinished.is_none() {
            return Ok(found);
        }
        Err("bytes are left over".to_owned())
    }

    #[test]
    fn a_response_is_read_however_it_is_split() {
        let expected = vec![Message { start: Status(200), close: false }];
        for piece in 1..=OK.len() {
            assert_eq!(feed(OK, piece).as_ref(), Ok(&expected), "in pieces of {piece}");
        }
    }

    #[test]
    fn pipelined_responses_are_told_apart_however_they_are_split() {
        let bytes = [
            OK,
            b"HTTP/1.1 429 Too Many Requests\r\nCONTENT-LENGTH:0\r\nconnection: Close\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 204\r\n\r\n",
            OK,
        ]
        .concat();
        let expected: Vec<_> = [(200, false), (429, true), (100, false), (204, false), (200, false)]
            .map(|(code, close)| Message { start: Status(code), close })
            .into();
        for piece in 1..=bytes.len() {
            assert_eq!(feed(&bytes, piece).as_ref(), Ok(&expected), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_follows_a_response_stays_for_the_next_call() {
        let mut reader = reader_with(&[OK, b"HTTP/1.1 500 I"].concat());
        let message = Message { start: Status(200), close: false };
        assert_eq!(reader.next(), Ok(Some(message)));
        assert_eq!(reader.next(), Ok(None));
        assert_eq!(&reader.buffer[reader.start..reader.end], b"HTTP/1.1 500 I");
    }

    #[test]
    fn a_body_longer_than_the_buffer_is_skipped() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 3 * BUFFER_BYTES);
        let bytes = [head.as_bytes(), &vec![b'\n'; 3 * BUFFER_BYTES], OK].concat();
        assert_eq!(feed(&bytes, 1000).map(|messages| messages.len()), Ok(2));
    }

    #[test]
    fn what_cannot_be_framed_is_refused() {
        for bytes in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(reader_with(bytes.as_bytes()).next().is_err(), "{bytes:?}");
        }
        assert!(reader_with(&[b'x'; BUFFER_BYTES]).next().is_err(), "an endless head");
    }

    #[tokio::test]
    async fn a_closed_connection_is_the_end_not_a_message() -> io::Result<()> {
        let mut reader = Reader::<Status>::default();
        let mut stream = OK;
        assert!(reader.read(&mut stream).await?.is_some());
        assert_eq!(reader.read(&mut stream).await?, None);
        Ok(())
    }
}
