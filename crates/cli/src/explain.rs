//! `whycam explain`: photos in, maps out.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::{Engine, Tensor};
use whycam::image::Photo;
use whycam::sanity::{self, Check, Sanity};
use whycam::{Explainer, Explanation, Image, Layers, Map, Model, ModelOptions, Origin, Question};

use crate::args::Explain;
use crate::console::Console;
use crate::fail::Fail;
use crate::inputs::{self, Input};
use crate::out::{self, Place, Show, percent};
use crate::record::{self, EngineFacts, Entry, Facts, InputFacts, ModelFacts, hex};
use crate::{further, npy};

/// Explains every input.
///
/// # Errors
/// When the question cannot be asked. An input that fails is reported, and makes the exit code 1.
pub fn run(args: &Explain) -> Result<ExitCode, Fail> {
    let mut console = Console::new(args.quiet, args.json);
    let options = EngineOptions { threads: args.threads, device: args.device };
    let threads = options.threads();
    // Pictures are drawn by as many threads as run the model; a pool that is there already does as well.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let layers = layers(&args.layer)?;
    let model = model(args)?;
    let engine = engine(&args.engine, options).map_err(|e| Fail::from(e).into_usage())?;
    let question = Question {
        methods: args.method.clone(),
        layers,
        targets: args.target.clone(),
        align: args.align,
        batch: args.batch.get(),
    };
    let asked = question.clone();
    let explainer = Explainer::new(&model, engine.as_ref(), &question)?;
    let further = further::read(&model, &args.input)?;
    let facts = EngineFacts {
        name: engine.name(),
        version: engine.version(),
        library: engine.library().map(|path| path.display().to_string()),
        device: args.device.name(),
        threads,
    };
    announce(&console, args, &model, &facts, &explainer);

    let (inputs, missing) = inputs::find(&args.inputs, &args.out);
    for fail in &missing {
        console.error(fail);
    }
    console.expect(inputs.len());
    let session = Session {
        args,
        console,
        model: &model,
        engine: facts,
        explainer,
        further,
        noted: Cell::new(false),
        sanity: args.sanity.then_some((engine.as_ref(), &asked)),
    };
    let mut failed = missing.len();
    for input in &inputs {
        if let Err(fail) = session.input(input) {
            session.console.error(&fail.at(input.path.display()));
            failed += 1;
        }
        session.console.step();
    }
    session.console.end();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let all = inputs.len() + missing.len();
    if all > 1 {
        session.console.note(&format!("{failed} of {all} inputs failed"));
    }
    Ok(ExitCode::from(Fail::INPUT))
}

fn layers(names: &[String]) -> Result<Layers, Fail> {
    match names {
        [one] if one == "auto" => Ok(Layers::Auto),
        [one] if one == "all" => Ok(Layers::All),
        names if names.iter().any(|name| name == "all") => {
            Err(Fail::usage("--layer all is given beside other layers", "give it alone"))
        }
        names => Ok(Layers::Named(names.to_vec())),
    }
}

fn model(args: &Explain) -> Result<Model, Fail> {
    let labels = args.labels.as_ref().map(|path| match fs::read_to_string(path) {
        Ok(text) => Ok(whycam::labels(&text)),
        Err(e) => Err(Fail::read(path, &e).into_usage()),
    });
    let options = ModelOptions {
        size: args.choice.size,
        output: args.choice.output.clone(),
        prep: args.prep.clone(),
        labels: labels.transpose()?,
    };
    match &args.model {
        None => Ok(Model::embedded_with(options)?),
        Some(path) => {
            File::open(path).map_err(|e| Fail::read(path, &e).into_usage())?;
            Model::open_with(path, options).map_err(|e| Fail::from(e).at(path.display()))
        }
    }
}

fn path_of(args: &Explain) -> String {
    args.model.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string())
}

/// Says what will answer, and what was chosen without being asked.
fn announce(
    console: &Console,
    args: &Explain,
    model: &Model,
    engine: &EngineFacts<'_>,
    explainer: &Explainer<'_>,
) {
    let threads =
        if engine.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", engine.threads) };
    console.note(&format!("model  {}, {} {}, {threads}", path_of(args), engine.name, engine.version));
    let automatic = if args.layer == ["auto"] { " (automatic)" } else { "" };
    for layer in explainer.layers() {
        console.note(&format!("layer  {layer}{automatic}"));
    }
    if let Some((prep, Origin::Guess)) = model.prep() {
        console.note(&format!(
            "prep   {prep}, a guess: the model does not say how photos are prepared (see --prep)"
        ));
    }
    let (labels, classes) = (model.labels().len(), model.score().classes);
    if labels != 0 && labels != classes {
        console
            .note(&format!("warning: there are {labels} labels for {classes} classes; names may be wrong"));
    }
}

/// Everything that is ready when the first image comes.
struct Session<'a> {
    args: &'a Explain,
    console: Console,
    model: &'a Model,
    engine: EngineFacts<'a>,
    explainer: Explainer<'a>,
    further: Vec<(String, Tensor)>,
    /// Whether the notes, which are the same for every image, were told.
    noted: Cell<bool>,
    /// The engine and the question again, for the sanity check.
    sanity: Option<(&'a dyn Engine, &'a Question)>,
}

impl Session<'_> {
    /// Explains a photo, or every row of an array.
    fn input(&self, input: &Input) -> Result<(), Fail> {
        let bytes = fs::read(&input.path).map_err(|e| Fail::read(&input.path, &e))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let path = input.path.display().to_string();
        let facts = InputFacts { path, sha256: &sha256, width: None, height: None, row: None };
        let named_npy = input.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
        if named_npy || npy::is_npy(&bytes) {
            let array = npy::read(&bytes)?;
            drop(bytes);
            return self.rows(input, &array, &facts);
        }
        let photo = Photo::decode(&bytes)?;
        drop(bytes);
        let facts = InputFacts { width: Some(photo.width()), height: Some(photo.height()), ..facts };
        self.image(&input.stem, &self.model.prepare(photo)?, facts)
    }

    fn rows(&self, input: &Input, array: &Tensor, facts: &InputFacts<'_>) -> Result<(), Fail> {
        let values = array.to_f32s();
        let row_shape: Vec<usize> = [1].into_iter().chain(array.shape().iter().copied().skip(1)).collect();
        let rows = values.chunks_exact(row_shape.iter().product::<usize>().max(1));
        let single = rows.len() == 1;
        if rows.len() == 0 {
            return Err(Fail::input("the array has no rows", "its first axis is the number of images"));
        }
        for (row, values) in rows.enumerate() {
            let stem = if single { input.stem.clone() } else { format!("{}-{row}", input.stem) };
            for image in self.model.rows(&row_shape, values)? {
                self.image(&stem, &image, InputFacts { row: Some(row), ..facts.clone() })?;
            }
        }
        Ok(())
    }

    /// Explains one image and writes its files.
    fn image(&self, stem: &str, image: &Image, input: InputFacts<'_>) -> Result<(), Fail> {
        let (args, model) = (self.args, self.model);
        let place = Place { out: &args.out, stem: stem.to_owned() };
        let row = input.row.map_or(String::new(), |row| format!(", row {row}"));
        let title = format!("{}{row}", input.path);
        let name =
            format!("{}{row}", Path::new(&input.path).file_name().unwrap_or_default().to_string_lossy());
        let facts = Facts {
            whycam: env!("CARGO_PKG_VERSION"),
            model: ModelFacts {
                path: path_of(args),
                sha256: model.sha256(),
                size: [model.input().height, model.input().width],
                output: &model.graph().value(model.score().output).name,
            },
            engine: self.engine.clone(),
            prep: image.photo.as_ref().and_then(|_| model.prep()).map(|(prep, _)| prep.to_string()),
            input,
        };
        let record = place.path(&place.record());
        let kept = record::kept(&record, &facts, args.force)?;

        let answer = self
            .explainer
            .explain_with(image, &self.further, &mut |progress| self.console.progress(progress))?;
        let show = Show { colormap: args.colormap, opacity: args.opacity, align: args.align, raw: args.raw };
        let files = place.write(&name, image, &answer, &kept, show)?;
        let milliseconds = (answer.time.as_secs_f64() * 1e6).round() / 1e3;
        let written: Vec<String> =
            files.iter().flat_map(|f| [Some(f.overlay.clone()), f.raw.clone()]).flatten().collect();
        let mut checked = self.sanity(image, &title)?;
        if let Some(found) = &checked {
            place.write_curves(&answer, found)?;
        }
        let told: Vec<String> = checked.iter().flatten().map(judged).collect();
        let curves = checked.as_ref().map(|_| place.curves());
        let entries = answer.maps.iter().zip(files).map(|(map, files)| {
            let sanity = checked.as_mut().filter(|found| !found.is_empty()).map(|found| found.remove(0));
            Entry { map, milliseconds, files, sanity }
        });
        let [pretty, line] = record::write(&facts, &answer.top, kept, entries.collect())?;
        out::save(&record, format!("{pretty}\n").as_bytes())?;

        self.console.json(&line)?;
        let names = [place.sheet()].into_iter().chain(written).chain(curves).chain([place.record()]);
        let names = names.map(|name| place.path(&name).display().to_string());
        self.console.result(&self::told(&title, &answer, &told, names))?;
        self.warn(&title, &answer);
        Ok(())
    }

    /// The sanity check of every map, if it was asked for.
    fn sanity(&self, image: &Image, title: &str) -> Result<Option<Vec<Sanity>>, Fail> {
        let Some((engine, question)) = self.sanity else { return Ok(None) };
        let check = Check { question, steps: sanity::STEPS, seed: 0 };
        let bar = self.console.steps(title);
        let mut progress = |done: usize, of: usize| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        };
        let found = sanity::sanity(self.model, engine, check, image, &self.further, &mut progress);
        bar.finish_and_clear();
        Ok(Some(found?))
    }

    /// Says what is odd about the maps.
    fn warn(&self, title: &str, answer: &Explanation) {
        let which = |map: &Map| format!("{} of {} at {}", map.method, map.target, map.layer);
        for map in &answer.maps {
            if let Some(advice) = map.verdict.advice() {
                self.console.note(&format!("warning: {title}: {}: {advice}", which(map)));
            }
        }
        if !self.noted.replace(true) {
            let meanings =
                answer.maps.iter().flat_map(|m| m.notes.iter().filter_map(move |n| Some((m, meaning(n)?))));
            for (map, meaning) in meanings {
                self.console.note(&format!("warning: {}: {meaning}", which(map)));
            }
        }
    }
}

/// What a note means to somebody who looks at the map; `None` when it changes nothing for them.
fn meaning(note: &str) -> Option<&'static str> {
    match note {
        "rule-had-no-effect" => {
            Some("the model has no ReLU for the method to act on: this is the plain gradient")
        }
        "rule-partly-applied" => Some("some activations are no ReLUs: they send their plain gradient"),
        _ => None,
    }
}

/// How a map fared in the sanity check.
fn judged(sanity: &Sanity) -> String {
    format!("  sanity  {} of {} at {} {}", sanity.method, sanity.target, sanity.layer, sanity.sentence)
}

/// The classes with the highest scores, how maps fared, and the files.
fn told(title: &str, answer: &Explanation, judged: &[String], files: impl Iterator<Item = String>) -> String {
    let top =
        answer.top.iter().map(|p| format!("  {:>6}  {:>4}  {}", percent(p.probability), p.class, p.label));
    let files = files.map(|file| format!("  → {file}"));
    [title.to_owned()]
        .into_iter()
        .chain(top)
        .chain(judged.iter().cloned())
        .chain(files)
        .collect::<Vec<_>>()
        .join("\n")
}
