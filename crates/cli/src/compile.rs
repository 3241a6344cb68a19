//! `whycam compile`: a model in, a model that also gives the map out.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use whycam::graph::DType;
use whycam::prep::Prep;
use whycam::{Compile, Explained, Model, ModelOptions, Origin, compile};

use crate::args::{self, Classes};
use crate::console::Console;
use crate::fail::Fail;
use crate::out;
use crate::targets;

/// Writes the compiled model, and the files of weights that it needs beside it.
///
/// # Errors
/// When the model or the question is not fit, or a file cannot be written.
pub fn run(args: &args::Compile) -> Result<ExitCode, Fail> {
    let console = Console::new(args.quiet, false);
    let labels = args.labels.as_ref().map(|path| match fs::read_to_string(path) {
        Ok(text) => Ok(whycam::labels(&text)),
        Err(e) => Err(Fail::read(path, &e).into_usage()),
    });
    let options = ModelOptions {
        size: args.choice.size,
        output: args.choice.output.clone(),
        prep: args.prep.clone().flatten(),
        labels: labels.transpose()?,
    };
    let at = |e: whycam::Error| Fail::from(e).at(args.model.display());
    Fail::unless_readable(&args.model)?;
    let (bytes, about) = Model::read(&args.model).map_err(at)?;
    let model = Model::with_about(&bytes, options, about).map_err(at)?;
    let compiled = compile(
        &model,
        &bytes,
        &Compile {
            method: args.method.clone(),
            layer: Some(args.layer.clone()).filter(|layer| layer != "auto"),
            classes: classes(&args.target.iter().flat_map(|list| list.0.clone()).collect::<Vec<_>>())?,
            align: args.align,
            prep: args.prep.as_ref().map(|_| prep(&model)).transpose()?,
            opset: args.opset,
        },
    )?;
    if same(&args.model, &args.out) {
        return Err(Fail::usage("-o is the model itself", "give another name"));
    }
    let folder = args.out.parent().unwrap_or(Path::new(""));
    for (location, data) in &compiled.bytes.external {
        let path = folder.join(location);
        match fs::read(&path) {
            Ok(there) if there == *data => {}
            Ok(_) => {
                let what = format!("{} is in the way: it holds other weights", path.display());
                return Err(Fail::input(what, "write to an empty folder"));
            }
            Err(_) => out::save(&path, data)?,
        }
    }
    out::save(&args.out, &compiled.bytes.proto)?;
    if let Some(layer) = &compiled.layer {
        console.note(&format!("layer  {layer}{}", if args.layer == "auto" { " (automatic)" } else { "" }));
    }
    let [own, now] = compiled.opset;
    if own != now {
        console.note(&format!("opset  {now}, raised from {own}"));
    }
    let size = |bytes: &whycam::graph::engine::ModelBytes| {
        bytes.proto.len() + bytes.external.values().map(|data| data.len()).sum::<usize>()
    };
    let [before, after] = [&bytes, &compiled.bytes].map(|bytes| size(bytes) as f64);
    console.note(&format!("size   {:.1} MB, {:.3} × the model", after / 1e6, after / before));
    console.result(&args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn classes(asked: &[Classes]) -> Result<Explained, Fail> {
    if let [Classes::Input(k)] = asked {
        return Ok(Explained::Input(*k));
    }
    let target = |classes: &Classes| match classes {
        Classes::Target(target) => Some(target.clone()),
        Classes::Input(_) => None,
    };
    let all: Option<Vec<_>> = asked.iter().map(target).collect();
    let all = all.ok_or_else(|| {
        Fail::usage("--target input is given beside other targets", "give all classes as the input: input:K")
    })?;
    Ok(Explained::Targets(targets::read(all.iter())?))
}

/// How photos are prepared, which somebody must have said.
fn prep(model: &Model) -> Result<Prep, Fail> {
    match model.prep() {
        Some((prep, Origin::Asked | Origin::Model)) => Ok(prep.clone()),
        Some((_, Origin::Guess)) if model.graph().value(model.image()).dtype == Some(DType::U8) => {
            Err(Fail::usage(
                "the model takes the bytes of photos as it is",
                "leave --prep out: nothing is to be added",
            ))
        }
        Some((_, Origin::Guess)) | None => {
            Err(Fail::usage("the model does not say how photos are prepared", "give it: --prep imagenet"))
        }
    }
}

/// Whether two paths lead to one file.
fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
