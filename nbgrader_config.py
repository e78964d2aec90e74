"""What nbgrader and `python -m grading` are told about this course."""

c = get_config()  # noqa: F821 (traitlets puts it here)

# Which package the students' modules belong to: assignment NAME has the module NAME.
c.CourseCode.package = "course_lib"
c.CourseCode.reference = "solutions"
c.CourseCode.stub = "course_lib.stubs.stub"
c.CourseCode.overlay_variable = "COURSE_LIB_OVERLAY"
c.CourseCode.seed_variable = "COURSE_LIB_SEED"
c.CourseCode.checks = "course_lib.checks"

# What submissions would import: torch takes a second, its optimizers another, the digits a third.
c.Engine.preload = [
    "matplotlib.pyplot",
    "numpy",
    "safetensors.torch",
    "sklearn.datasets",
    "torch",
    "torch._dynamo",
]

c.CourseDirectory.source_directory = "notebooks"
c.CourseDirectory.max_file_size = 10_000  # kB; a larger file of a student is left behind

c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}
c.ClearSolutions.text_stub = "*Write your answer here.*"

# A student who is not in the gradebook is a mistake of the roster, not a new student.
c.Autograde.create_student = False
c.Autograde.autograde_preprocessors = [
    "grading.preprocessors.Executed",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.OverwriteCells.add_missing_cells = True

c.Execute.timeout = 30  # seconds for one cell

# nbgrader gives a cell with anything on stderr 0 points; a failed test raises, so that a warning
# of a library need cost nothing.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"[\s\S]"
c.LimitOutput.max_lines = 200
c.LimitOutput.max_traceback = 40

# What students wrote is shown in instructors' browsers, in feedback and in formgrader.
c.HTMLExporter.sanitize_html = True
c.HTMLExporter.filters = {
    "clean_html": "grading.markup.clean",
    "markdown2html": "grading.markup.markdown",
}

c.GenerateFeedback.preprocessors = [
    "grading.preprocessors.HideTests",
    "nbgrader.preprocessors.GetGrades",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    "grading.preprocessors.FeedbackStyle",
]

c.ExportApp.plugin_class = "grading.report.SafeCsvExportPlugin"
