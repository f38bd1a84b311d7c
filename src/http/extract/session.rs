//! The conversation that a message belongs to: `X-Session-Id`.

use http::HeaderMap;

use crate::domain::conversation::{InvalidSession, SessionId};

/// The session that all headers agree on; `None` if there is no header.
pub(in crate::http) fn read(headers: &HeaderMap) -> Result<Option<SessionId>, InvalidSession> {
    let mut sessions = headers.get_all("x-session-id").iter().map(|value| SessionId::parse(value.as_bytes()));
    let Some(first) = sessions.next().transpose()? else { return Ok(None) };
    if sessions.all(|session| session.as_ref() == Ok(&first)) { Ok(Some(first)) } else { Err(InvalidSession) }
}
