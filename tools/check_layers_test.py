"""The checker of layers finds what it is for: python3 tools/check_layers_test.py"""
import importlib.machinery
import importlib.util
import pathlib
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
loader = importlib.machinery.SourceFileLoader("check_layers", str(HERE / "check_layers"))
check_layers = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_layers", loader))
loader.exec_module(check_layers)


class CheckLayers(unittest.TestCase):
    def offences(self, layers, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in {"LAYERS": layers, **files}.items():
                path = root / "src" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_layers.check(root)[1]

    def test_an_include_against_the_arrows_is_named_with_its_line(self):
        found = self.offences("base:\ncalls: base\nplan: base\n",
                              {"plan/scale.cc": '#include "plan/scale.h"\n\n#include "calls/calls.h"\n'})
        self.assertEqual(found, ["src/plan/scale.cc:3: plan may not use calls"])

    def test_lower_layers_the_module_itself_and_libraries_are_free(self):
        self.assertEqual(self.offences("base:\nplan: base\n", {
            "plan/a.cc": '#include "plan/a.h"\n#include "base/id.h"\n#include <sys/stat.h>\n#include <vector>\n'}), [])

    def test_generated_messages_are_a_layer_of_their_own(self):
        files = {"plan/a.cc": '#include <modal_proto/api.pb.h>\n'}
        self.assertEqual(self.offences("plan:\n", files), ["src/plan/a.cc:1: plan may not use proto"])
        self.assertEqual(self.offences("plan: proto\n", files), [])

    def test_a_circle_in_the_file_itself_is_found(self):
        self.assertEqual(self.offences("a: b\nb: a\n", {}), ["src/LAYERS:1: a uses b, which is not a lower layer"])

    def test_a_folder_that_is_not_listed_is_found(self):
        self.assertEqual(self.offences("a:\n", {"b/x.h": "\n"}), ["src/b/x.h:1: b is not in src/LAYERS"])

    def test_a_file_that_is_too_long_is_found(self):
        self.assertEqual(self.offences("a:\n", {"a/x.cc": "\n" * 801}), ["src/a/x.cc:801: longer than 800 lines"])


if __name__ == "__main__":
    unittest.main()
