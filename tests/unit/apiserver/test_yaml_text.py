"""YAML answers: PyYAML and the server's own reader both read back what was written."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from control_plane.apiserver import decode_yaml
from control_plane.apiserver.rest import yaml_text

ODD = ["yes", "No", "~", "1", "1e3", "0x1", ".5", "-", "- a", "a: b", "a:b", "a:", "#", "a #b", "a ", " a", "", "<<"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [*ODD, "a\nb", "=", "a" * 300]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@example({"\0<<": None})
@given(VALUES)
def test_what_is_written_is_read_back(value):
    text = yaml_text.dump(value)
    assert decode_yaml.load(text)[0] == value
    assert yaml.safe_load(text) == value


def test_objects_look_as_kubectl_shows_them():
    value = {
        "spec": {"ports": [{"name": "http", "port": 80}], "empty": {}, "none": []},
        "kind": "Service",
        "on": "yes",
    }
    assert yaml_text.dump(value).decode() == (
        'kind: Service\n"on": "yes"\nspec:\n  empty: {}\n  none: []\n  ports:\n  - name: http\n    port: 80\n'
    )
