"""A notebook in a browser: what a person sees of it, and does to it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from clf_testing.jupyterlab import Lab

_PATIENCE_MILLISECONDS = 180_000
_MOST_RELOADS = 5
_TROUBLE = ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error'], .jp-Dialog"
_READY = """async () => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    if (!panel?.sessionContext || !panel.content?.widgets?.length) return false;
    await panel.context.ready;
    await panel.sessionContext.ready;
    return panel.sessionContext.session?.kernel?.status === 'idle';
}"""
_RUN_ALL = "() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
_UNTOUCHED = ".jp-NotebookPanel .jp-CodeCell .jp-InputPrompt:text-is('[ ]:')"


class NotebookPage:
    """A notebook in a tab of its own.

    Parameters
    ----------
    browser
        A running browser.
    lab
        A running JupyterLab.
    who
        Whose tab it is; screenshots are called after it.
    notebook
        Name of the notebook's file.
    pictures
        Folder of the screenshots.
    """

    def __init__(
        self, browser: Browser, lab: Lab, *, who: str, notebook: str, pictures: Path
    ) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1400, "height": 1400})
        self.page.set_default_timeout(_PATIENCE_MILLISECONDS)
        self._who = who
        self._pictures = pictures
        self._trouble = self.page.locator(_TROUBLE)
        self.page.goto(lab.notebook(who, notebook))
        self._open()

    def _open(self) -> None:
        """Wait for the notebook; load again what a busy machine could not load in time.

        JupyterLab gives its style sheet 1.5 s, and then stands behind a dialog about that.
        """
        opened = self.page.locator(".jp-NotebookPanel .jp-CodeCell")
        for _ in range(_MOST_RELOADS):
            expect(opened.or_(self._trouble).first).to_be_visible(timeout=_PATIENCE_MILLISECONDS)
            if not self._trouble.filter(has_text="Error Loading Theme").count():
                return
            self.page.reload()

    def run_all(self) -> None:
        """Do what the menu's "Run All Cells" does, once the kernel answers."""
        self.page.wait_for_function(_READY)
        self.page.evaluate(_RUN_ALL)
        expect(self.page.locator(_UNTOUCHED)).to_have_count(0, timeout=_PATIENCE_MILLISECONDS)

    def button(self, label: str, number: int = 0) -> Locator:
        """Return one of the buttons with this label."""
        return self.page.get_by_role("button", name=label, exact=True).nth(number)

    def press(self, label: str, number: int = 0) -> None:
        """Press a button as soon as it can be pressed."""
        found = self.button(label, number)
        self.see(found)
        expect(found).to_be_enabled(timeout=_PATIENCE_MILLISECONDS)
        found.click()

    def see(self, what: str | Locator) -> Locator:
        """Wait until something can be seen; a failed cell or a dialog ends the waiting."""
        found = self.page.get_by_text(what) if isinstance(what, str) else what
        visible = found.filter(visible=True)
        expect(visible.or_(self._trouble).first).to_be_visible(timeout=_PATIENCE_MILLISECONDS)
        self.check_no_trouble()
        return visible.first

    def check_no_trouble(self) -> None:
        """Check that no cell has failed, and no dialog is open."""
        assert self._trouble.all_inner_texts() == []

    def keep(self, name: str, *, showing: Locator | None = None) -> None:
        """Keep a screenshot, of the part of the page where something is."""
        if showing is not None:
            showing.scroll_into_view_if_needed()
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._pictures / f"{self._who}-{name}.png")
