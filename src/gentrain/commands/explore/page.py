"""The page of `gentrain explore`: Streamlit runs this file whenever the user moves something."""

from __future__ import annotations

from typing import Any

from gentrain.data.grids import as_image
from gentrain.errors import Diverged, UserError

STYLE = "<style>.stMainBlockContainer {padding-top: 2rem} h1 {font-size: 1.8rem}</style>"


def show(page: Any, explorer: Any) -> None:
    """Draw the page.

    Args:
        page: Streamlit, or whatever has its functions.
        explorer: the run.
    """
    page.set_page_config(page_title=f"gentrain: {explorer.title}", layout="wide")
    page.html(STYLE)
    page.title(explorer.title)
    page.caption(explorer.about)
    titles = [panel.title for panel in explorer.panels]
    chosen = page.segmented_control("What to look at", titles, default=titles[0])
    panel = explorer.panels[titles.index(chosen or titles[0])]
    page.write(panel.about)
    left, right = page.columns([2, 1])  # a phone shows the pictures above the controls
    with right:
        # widgets of equal names keep their values from panel to panel
        values = {key: each.ask(page) for key, each in panel.controls(explorer).items()}
    with left:
        try:
            shown = explorer.draw(panel, values)
        except (UserError, Diverged) as error:
            page.error(str(error))
            return
        for caption, picture in shown.pictures:
            page.image(as_image(picture), caption=caption)
        if shown.text:
            page.write(shown.text)


if __name__ == "__main__":
    import streamlit

    from gentrain.commands.explore.server import Served

    show(streamlit, Served.explorer)
