//! The database and its backups, and the clock that both go by.

use super::{Cause, Finding};
use crate::{
    app::{backup_schedule, database_settings},
    config::Config,
    domain::time::Millis,
    sqlite::{self, Survey},
};

/// 2026: this program is no older.
const EARLIEST: Millis = Millis(1_767_225_600_000);
/// 2100: nobody will run it then.
const LATEST: Millis = Millis(4_102_444_800_000);
/// Clocks of two processes may differ by as much.
const TOLERANCE_MS: i64 = 5_000;

/// Looks at the file; also what was seen, if it could be read.
pub(super) async fn examine(config: &Config, now: Millis) -> (Vec<Finding>, Option<Survey>) {
    let path = config.database.path.display();
    if !config.database.path.exists() {
        let text = format!("there is none at {path} yet; the server makes it");
        return (vec![Finding::ok("database", text), backups(config, now, false)], None);
    }
    match sqlite::survey(&database_settings(config)).await {
        Ok(survey) => {
            let runs = survey.server_running;
            (vec![judge(config, &survey), backups(config, now, runs)], Some(survey))
        }
        Err(error) => {
            let fix =
                "see whether it is the right file and who owns it, or restore a backup: moorgate db restore";
            (vec![Finding::error("database", Cause::Database, error.to_string(), fix)], None)
        }
    }
}

fn judge(config: &Config, survey: &Survey) -> Finding {
    let path = config.database.path.display();
    let (schema, known) = (survey.schema_version, survey.known_schema_version);
    if let Some(complaint) = &survey.complaint {
        let fix = "look with moorgate db check, then restore a backup: moorgate db restore";
        return Finding::error("database", Cause::Database, format!("{path} is damaged: {complaint}"), fix);
    }
    if schema > known {
        let text = format!("{path} has schema {schema}, newer than this moorgate's {known}");
        return Finding::error(
            "database",
            Cause::Database,
            text,
            "start the newer moorgate, or restore a backup",
        );
    }
    if schema < known {
        let text = format!("{path} has schema {schema}, older than this moorgate's {known}");
        let fix = "start the server, or run moorgate db migrate: it is brought up to date";
        return Finding::warning("database", text, fix);
    }
    Finding::ok("database", format!("{path} is whole, its schema is {schema}"))
}

fn backups(config: &Config, now: Millis, server_runs: bool) -> Finding {
    let Some(schedule) = backup_schedule(config) else {
        let fix = "set backup_folder in [database], or run moorgate db backup from cron";
        return Finding::warning("backups", "the server makes none", fix);
    };
    let folder = schedule.folder.display();
    match sqlite::newest_backup(&config.database.path, &schedule, now) {
        Err(error) => {
            let text = format!("{folder} cannot be read: {error}");
            Finding::error(
                "backups",
                Cause::Database,
                text,
                "let the server's user read and write that folder",
            )
        }
        Ok(newest) => {
            let text = match &newest.path {
                Some(path) => format!("the newest is {}", path.display()),
                None => format!("there is none in {folder} yet"),
            };
            if newest.is_late && server_runs {
                let fix = "look for \"a backup failed\" in the server's log";
                Finding::warning("backups", format!("{text}, and another one was due long ago"), fix)
            } else {
                Finding::ok("backups", text)
            }
        }
    }
}

/// Whether the clock can be right, going by itself and by what is on record.
pub(super) fn clock(now: Millis, survey: Option<&Survey>) -> Finding {
    const FIX: &str = "set the clock, best with NTP: signatures and limits go by it";
    if !(EARLIEST..LATEST).contains(&now) {
        let text = format!("it shows {}, which cannot be", now.iso());
        return Finding::error("clock", Cause::Configuration, text, FIX);
    }
    match survey.and_then(|survey| survey.latest) {
        Some(latest) if latest.0 > now.0 + TOLERANCE_MS => {
            let text = format!("it shows {}, but {} is on record", now.iso(), latest.iso());
            Finding::warning("clock", text, FIX)
        }
        _ => Finding::ok("clock", format!("it shows {}", now.iso())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_clock_is_wrong_in_a_year_that_cannot_be() {
        let state = |now| clock(now, None).state;
        assert_eq!(state(Millis(0)), State::Error(Cause::Configuration));
        assert_eq!(state(EARLIEST), State::Ok);
        assert_eq!(state(LATEST), State::Error(Cause::Configuration));
    }
}
