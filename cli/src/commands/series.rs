//! `fleetprof series`: CPU over time, as one curve or one per combination of label values.

use fleetprof_proto::v1::{Point, SeriesRequest, SeriesResponse, TimeSeries};

use super::{Session, missing, query};
use crate::{
    args::{ConnectionArgs, Format, SeriesArgs},
    error::CliError,
    output::{
        coverage, json, sparkline,
        table::{Layout, Table},
        text::Cut,
        units,
    },
    screen::Screen,
};

/// Widest curve, characters.
const CURVE: usize = 40;

/// Most steps a curve is laid out over; a finer step is for JSON.
const MOST_STEPS: usize = 100_000;

/// The grid of steps that points are put on.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Start of the first step, Unix nanoseconds.
    start: i64,
    /// Width of a step, nanoseconds; at least 1.
    step: u64,
    steps: usize,
}

/// What a row of the table says about a series.
#[derive(Debug)]
struct Row<'a> {
    values: &'a [String],
    cpu_nanos: u64,
    samples: u64,
    /// Cores per step; `None` where there is no data.
    cores: Vec<Option<f64>>,
}

pub(super) async fn run(
    args: &SeriesArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let target = args.target.resolve()?;
    let query = query(&target, &args.range)?;
    let session = Session::open(connection, screen).await?;
    let request = SeriesRequest {
        query: Some(query.clone()),
        group_by: args.by.clone(),
        step_nanos: args.step.unwrap_or(0),
        function: args.function.clone().unwrap_or_default(),
    };
    let mut answer = session.ask(session.client.series(request)).await?;
    let all = answer.series.len();
    limit(&mut answer.series, args.limit);

    let for_people = args.format.format == Format::Table;
    let text = if for_people {
        let table = if args.by.is_empty() {
            points_table(&answer, args.function.is_some())
        } else {
            series_table(&args.by, &answer)
        };
        table.render(screen.medium(args.format.width))
    } else {
        let grid = Grid::over(&answer);
        json::series(&args.by, &answer, args.function.is_some(), |point| grid.cores(point))?
    };
    screen.print(&text)?;
    if answer.series.iter().all(|series| series.points.is_empty()) {
        match &args.function {
            Some(name) => screen.note(&format!(
                "no CPU time in a function named {name:?}: fleetprof top shows the names there are"
            )),
            None => screen.note(&missing::hint(&query)),
        }
    } else if for_people {
        if answer.series.len() < all {
            screen.note(&format!("{} of {all} series shown", answer.series.len()));
        }
        let step = u64::try_from(answer.step_nanos).unwrap_or(0);
        screen.note(&format!("one step is {}", units::duration(step)));
    }
    session.note_coverage(&answer.coverage.unwrap_or_default(), for_people);
    Ok(())
}

/// Most CPU first, so that a limit keeps what matters.
fn limit(series: &mut Vec<TimeSeries>, limit: u32) {
    series.sort_by_cached_key(|series| std::cmp::Reverse(cpu_nanos(series)));
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 => series.truncate(limit),
        _ => {}
    }
}

fn cpu_nanos(series: &TimeSeries) -> u64 {
    series.points.iter().fold(0, |sum: u64, point| sum.saturating_add(point.cpu_nanos))
}

/// One line per step; `function`: of a function, which has time in itself and with what it calls.
fn points_table(answer: &SeriesResponse, function: bool) -> Table {
    let mut columns = vec![("TIME", Layout::Word), ("CORES", Layout::Number)];
    if function {
        columns.extend([("SELF", Layout::Number), ("TOTAL", Layout::Number)]);
    } else {
        columns.push(("CPU TIME", Layout::Number));
    }
    columns.extend([("SAMPLES", Layout::Number), ("", Layout::Word)]);
    let mut table = Table::new(&columns);
    let grid = Grid::over(answer);
    let points = || answer.series.iter().flat_map(|series| &series.points);
    let top = points().map(|point| grid.cores(point)).fold(0.0, f64::max);
    for point in points() {
        let cores = grid.cores(point);
        let mut cells = vec![units::instant(point.unix_nanos), units::cores(cores)];
        cells.extend(function.then(|| units::duration(point.self_nanos)));
        cells.push(units::duration(point.cpu_nanos));
        cells.extend([units::count(point.samples), sparkline::draw(&[Some(cores)], top, 1)]);
        table.row(cells);
    }
    table
}

/// One line per series, its curve at the end; all curves to the same scale.
fn series_table(by: &[String], answer: &SeriesResponse) -> Table {
    let labels: Vec<String> = by.iter().map(|label| label.to_uppercase()).collect();
    let mut columns: Vec<(&str, Layout)> =
        labels.iter().map(|label| (label.as_str(), Layout::Flexible(Cut::End))).collect();
    columns.extend([
        ("CORES", Layout::Number),
        ("PEAK", Layout::Number),
        ("CPU TIME", Layout::Number),
        ("SAMPLES", Layout::Number),
        ("CORES OVER TIME", Layout::Word),
    ]);
    let mut table = Table::new(&columns);
    let covered = answer.coverage.as_ref().map_or(0, coverage::covered_nanos);
    let grid = Grid::over(answer);
    let rows: Vec<_> = answer.series.iter().map(|series| Row::of(series, &grid)).collect();
    let top = rows.iter().map(Row::peak).fold(0.0, f64::max);
    for row in &rows {
        let values = (0..by.len()).map(|index| row.values.get(index).cloned().unwrap_or_default());
        // The same number as `services` shows. A step that data covers in part can show less.
        let mean = row.mean(covered);
        table.row(values.chain([
            units::cores(mean),
            units::cores(row.peak().max(mean)),
            units::duration(row.cpu_nanos),
            units::count(row.samples),
            sparkline::draw(&row.cores, top, CURVE),
        ]));
    }
    table
}

// === impl Grid ===

impl Grid {
    /// From the first to the last step that has data in any series.
    fn over(answer: &SeriesResponse) -> Self {
        let times = || answer.series.iter().flat_map(|it| &it.points).map(|it| it.unix_nanos);
        let start = times().min().unwrap_or(0);
        let last = times().max().unwrap_or(start);
        let step = u64::try_from(answer.step_nanos).unwrap_or(0).max(1);
        let steps = usize::try_from(last.abs_diff(start) / step).unwrap_or(usize::MAX);
        Self { start, step, steps: steps.saturating_add(1).min(MOST_STEPS) }
    }

    /// The step that an instant is in; `None` outside the grid.
    fn index(&self, unix_nanos: i64) -> Option<usize> {
        let index = u64::try_from(unix_nanos.checked_sub(self.start)?).ok()? / self.step;
        usize::try_from(index).ok().filter(|index| *index < self.steps)
    }

    /// CPU time of a step per wall-clock time of a step. The first and the last step of a range are
    /// rarely whole and show less; a batch is never split, so what part of it lies in the range is
    /// not known, and scaling by it would show peaks that are none.
    fn cores(&self, point: &Point) -> f64 {
        units::cores_of(point.cpu_nanos, self.step)
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    fn of(series: &'a TimeSeries, grid: &Grid) -> Self {
        let mut cores = vec![None; grid.steps];
        let mut samples: u64 = 0;
        for point in &series.points {
            samples = samples.saturating_add(point.samples);
            if let Some(index) = grid.index(point.unix_nanos) {
                cores[index] = Some(grid.cores(point));
            }
        }
        Self { values: &series.values, cpu_nanos: cpu_nanos(series), samples, cores }
    }

    fn peak(&self) -> f64 {
        self.cores.iter().flatten().copied().fold(0.0, f64::max)
    }

    fn mean(&self, covered_nanos: u64) -> f64 {
        units::cores_of(self.cpu_nanos, covered_nanos)
    }
}

#[cfg(test)]
mod tests;
