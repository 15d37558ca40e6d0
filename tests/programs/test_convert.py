import numpy as np

from holdfast import data
from holdfast.core.result import read_records
from holdfast.programs import convert, model_files


def test_conversion_records_and_training_data_in_the_model_file(tmp_path):
    from holdfast import models

    images = np.random.default_rng(0).exponential(1, (60, 2, 8, 8))
    np.savez(tmp_path / "a.npz", X=images, y=np.arange(60) % 2)
    convert.run(
        tmp_path / "out",
        files=[tmp_path / "a.npz"],
        transform=[{"name": "scale", "factors": [0.1, 1]}, {"name": "crop", "size": 7}],
        classes="photon, electron",
        label=None,
        image=None,
        channels="energy,time",
        units="GeV,ns",
        shares=[0.5, 0.25],
        on_corrupt="stop",
        workers=1,
        seed=0,
    )
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert sum(record.value for record in records if record.metric == "events") == 60
    info = data.open(tmp_path / "out" / "data").info
    assert (info.classes, info.units) == (("photon", "electron"), ("10 GeV", "ns"))
    assert info.unit_gev == (10.0, None)
    model = models.create("cnn", in_channels=2, classes=2, size=7)
    model_files.save(model, tmp_path / "m.safetensors", "cnn", data=info.for_model_file())
    assert model_files.ModelFile.open(tmp_path / "m.safetensors").data == {
        "transform": [
            {"name": "scale", "factors": [0.1, 1]},
            {"name": "crop", "size": 7, "around": "centre", "channel": 0},
        ],
        "channels": ["energy", "time"],
        "units": ["10 GeV", "ns"],
        "classes": ["photon", "electron"],
        "simulated": False,
    }
