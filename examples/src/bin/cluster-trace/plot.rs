//! Waiting and running over time, a panel per model.

use std::{collections::BTreeMap, path::Path};

use plotters::prelude::*;
use willow_examples::timeline::{Span, series};

/// Moments drawn.
const POINTS: usize = 400;
/// Panels side by side.
const COLUMNS: usize = 2;
const PANEL: (u32, u32) = (640, 260);

/// Writes an SVG: GPUs (pods, without a GPU) waiting and running by model, and what the nodes have.
pub(crate) fn draw(file: &Path, spans: &[Span], gpus: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let waiting = series(spans, POINTS, |span| (span.enqueued, span.started));
    let running = series(spans, POINTS, |span| (span.started, span.ended));
    let rows = running.len().div_ceil(COLUMNS);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32);
    let canvas = SVGBackend::new(file, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    for ((model, running), panel) in running.iter().zip(canvas.split_evenly((rows, COLUMNS))) {
        let has = gpus.get(*model).copied();
        draw_panel(&panel, model, &waiting[model], running, has)?;
    }
    canvas.present()?;
    Ok(())
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(
    panel: &Panel<'_>,
    model: &str,
    waiting: &[(f64, u64)],
    running: &[(f64, u64)],
    has: Option<u64>,
) -> anyhow::Result<()> {
    let end = running.last().map_or(1.0, |(at, _)| *at);
    let most = waiting.iter().chain(running).map(|(_, amount)| *amount).max().unwrap_or(1);
    // The line of what the nodes have is drawn only where it does not squash the curves.
    let has = has.filter(|has| *has <= 3 * most);
    let top = (most.max(has.unwrap_or(0)).max(1) as f64 * 1.1).ceil();
    let unit = if model == crate::report::NO_GPU { "pods" } else { "GPUs" };
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{model} ({unit})"), ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).x_desc("seconds");
    // Whole numbers of pods and GPUs; plotters would write `4500.0`.
    mesh.x_label_formatter(&|at| at.to_string()).y_label_formatter(&|amount| amount.to_string()).draw()?;
    let line = |points: &[(f64, u64)], color: RGBColor| {
        let points: Vec<(f64, f64)> = points.iter().map(|(at, amount)| (*at, *amount as f64)).collect();
        LineSeries::new(points, color.stroke_width(2))
    };
    let key = |color: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2));
    let (blue, orange, grey) = (RGBColor(31, 119, 180), RGBColor(230, 120, 20), RGBColor(120, 120, 120));
    chart.draw_series(line(running, blue))?.label("running").legend(key(blue));
    chart.draw_series(line(waiting, orange))?.label("waiting").legend(key(orange));
    if let Some(has) = has {
        chart.draw_series(line(&[(0.0, has), (end, has)], grey))?.label("on the nodes").legend(key(grey));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}
