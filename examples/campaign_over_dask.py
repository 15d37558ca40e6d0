"""The same bit-flip campaign on two worker processes of a Dask cluster (needs ``holdfast[cluster]``).

Run: python examples/campaign_over_dask.py
"""

import tempfile
from pathlib import Path

import torch
from distributed import Client, LocalCluster

from holdfast import data, models, stress


def main() -> None:
    stream = data.open("digits", split="test")
    torch.manual_seed(0)
    model = models.create("cnn", in_channels=1, classes=10, size=8).eval()
    flips = stress.BitFlips(site="output", bits="exponent")
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        records = stress.campaign.run(
            model,
            [flips],
            stream,
            trials=200,
            batch_size=16,
            seed=0,
            out=Path(folder),
            executor=client.get_executor(),
        )
    for record in records:
        if "layer" not in record.labels and "bit" not in record.labels and "bit_class" not in record.labels:
            print(f"{record.metric}: {record.value:.3f} of {record.n}")


if __name__ == "__main__":
    main()
