//! `GET /pprof/{service}?from=-15m&to=now[&label=value…]`: made for `go tool pprof URL`.

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fleetprof_proto::{
    selector::{MatchOp, Matcher, Selector},
    time_range::{TimeRange, format_instant},
};

use super::http::Web;
use crate::{
    clock,
    query::{Labels, Plan, QueryError},
};

/// Without `from`: the last quarter of an hour.
const DEFAULT_FROM: &str = "-15m";

pub(super) async fn handle(
    State(web): State<Web>,
    Path(service): Path<String>,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let answer = async {
        let Query(parameters) =
            parameters.map_err(|error| QueryError::Invalid(error.body_text()))?;
        let plan = plan(&service, parameters, clock::unix_nanos())?;
        let name = file_name(&service, &plan);
        Ok::<_, QueryError>((web.queries.profile(plan, Labels::All).await?, name))
    };
    match answer.await {
        Ok((profile, name)) => {
            let disposition = format!("attachment; filename=\"{name}\"");
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_DISPOSITION, disposition),
            ];
            (headers, profile.pprof_gz).into_response()
        }
        Err(error) => (error.http_status(), format!("{error}\n")).into_response(),
    }
}

/// `POST /pprof/symbolz`: having fetched a profile in which some mapping has no names at all,
/// `go tool pprof` asks the same server for them, and gives up on the whole profile when that fails.
/// What could be named has its names in the profile: there are no more.
pub(super) async fn symbolz() -> &'static str {
    "num_symbols: 0\n"
}

/// What is asked for. `seconds=N`, which `go tool pprof -seconds N` appends, is `from=-Ns`; every
/// other parameter is a label.
fn plan(
    service: &str,
    parameters: Vec<(String, String)>,
    now_unix_nanos: i64,
) -> Result<Plan, QueryError> {
    let (mut from, mut to, mut labels) = (None, None, Vec::new());
    let once = |slot: &mut Option<String>, name: &str, value: String| match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(QueryError::Invalid(format!("the range's {name} is given twice"))),
    };
    for (name, value) in parameters {
        match name.as_str() {
            "from" => once(&mut from, "start", value)?,
            "seconds" => once(&mut from, "start", format!("-{value}s"))?,
            "to" => once(&mut to, "end", value)?,
            _ => labels.push((name, value)),
        }
    }
    let (from, to) = (from.as_deref().unwrap_or(DEFAULT_FROM), to.as_deref().unwrap_or("now"));
    let range = TimeRange::parse(from, to, now_unix_nanos)?;
    let mut selector = Selector::service(service);
    for (name, value) in labels {
        selector.push(Matcher::new(name, MatchOp::Equal, value)?)?;
    }
    Ok(Plan { range, selector })
}

/// A name that needs no quoting anywhere.
fn file_name(service: &str, plan: &Plan) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let service: String = service.chars().take(100).map(plain).collect();
    // To the second, without colons.
    let until = format_instant(plan.range.end_unix_nanos());
    let until: String = until.chars().take(19).filter(|c| *c != ':').collect();
    format!("{service}-{until}.pb.gz")
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        let status: StatusCode = self.http_status();
        (status, format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests;
