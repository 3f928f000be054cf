"""Data sets and their conversion to records."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline_lib.config.fields import SEED, SIDE, THREADS, Flag, Name, NonNegative, Positive, Section
from pipeline_lib.config.keypoints import BUILT_IN, COCO_KEYPOINTS, KeypointSchema
from pipeline_lib.config.validation import ValidationConfig
from pipeline_lib.explain import ADDRESS, MD5, MEMBER, NOT_ENDED, PATH

VIDEOS = "[!.]*.json"
"""The files of the videos in the annotations' folder of a data set of format: posetrack."""


FN_API_RUNNER, DASK_RUNNER, DATAFLOW_RUNNER = "FnApiRunner", "DaskRunner", "DataflowRunner"
"""Beam's runners of which more is known here than the name."""


class SyntheticConfig(Section):
    """The embedded synthetic data set: how many images, how large."""

    seed: NonNegative = Field(0, le=SEED, description="The data set is made from it; not the seed of the search.")
    train_images: Positive = Field(400, le=10_000_000, description="Images of the training split.")
    val_images: Positive = Field(100, le=10_000_000, description="Images of the validation split.")
    height: Annotated[int, Field(strict=True, ge=64, le=SIDE)] = Field(
        240, description="Height of the largest images in pixels."
    )
    width: Annotated[int, Field(strict=True, ge=64, le=SIDE)] = Field(
        320, description="Width of the largest images in pixels."
    )
    people: Positive = Field(4, le=100, description="Largest number of people in a scene.")


class Split(Section):
    """Where the images and annotations of one split lie."""

    images: str = Field(description="Folder of the images, a path or gs://.")
    annotations: str = Field(
        description="COCO keypoint annotations (JSON), a path or gs://; with format: posetrack the folder of the videos' files."
    )
    detections: str | None = Field(
        None, description="Person detections (JSON list of image_id, category_id, bbox, score), a path or gs://."
    )


class Archive(Section):
    """A ZIP archive, and what of it is unpacked."""

    path: Annotated[str, Field(pattern=PATH)] = Field(description="Path below base_url.")
    size: Positive | None = Field(None, description="Bytes; null: what the server says.")
    md5: Annotated[str, Field(pattern=MD5)] = Field(description="MD5 of the archive, in hexadecimal.")
    members: dict[Annotated[str, Field(pattern=MEMBER)], Positive] = Field(
        min_length=1, description="What is unpacked: files and folders, with the number of files in each."
    )
    optional: Flag = Field(False, description="Got by the target coco_test alone, not by coco.")

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.path.rpartition("/")[2]


class DownloadConfig(Section):
    """Where the files of a data set are got, and how many persons they hold."""

    base_url: Annotated[str, Field(pattern=ADDRESS)] = Field(description="Address of the archives.")
    folder: str = Field(description="What is unpacked is put below it.")
    archives: dict[Name, Archive] = Field(min_length=1, description="The archives by name.")
    keep_archives: Flag = Field(False, description="Keep the archives in the folder; they are deleted otherwise.")
    persons: dict[Literal["train", "val"], Positive] = Field(
        {}, description="Persons that the filter of a split must leave."
    )
    images: dict[Literal["train", "val", "test"], Positive] = Field(
        {}, description="Images that the annotations of a split must list."
    )
    detections: str = Field(
        "they are put there by hand", description="How the person detections are got; told when they are missing."
    )


class DatasetConfig(Section):
    """A data set: its paths and its keypoints."""

    name: Name = Field(description="Names the folder results/data/<name>/.")
    synthetic: SyntheticConfig | None = Field(None, description="Make the data set, at the paths below, from the seed.")
    download: DownloadConfig | None = Field(
        None, description="Where `make coco` gets the files at the paths below; null: they are put there by hand."
    )
    by_hand: str | None = Field(None, description="How the files are got by hand; told when they are missing.")
    format: Literal["coco", "posetrack"] = Field(
        "coco",
        description="posetrack: a JSON file for each video, file names of images relative to the folder `images`.",
    )
    keypoints: KeypointSchema = Field(
        COCO_KEYPOINTS, description="`coco`, `posetrack`, or names, flip_pairs, skeleton and sigmas."
    )
    validation: ValidationConfig = Field(
        ValidationConfig(), description="What is done about images and annotations that are not what they should be."
    )
    train: Split
    val: Split
    test: Split | None = Field(
        None, description="Images without public annotations (COCO's test-dev): `annotations` lists the images alone."
    )

    def splits(self) -> dict[str, Split]:
        """The splits that the data set has, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @model_validator(mode="after")
    def _of_videos(self) -> Self:
        if self.format == "posetrack":
            given = {"synthetic": self.synthetic, "download": self.download, "test": self.test}
            if wrong := [key for key, value in given.items() if value is not None]:
                raise ValueError(f"{wrong[0]}: only for data sets of format: coco; leave it out")
        return self

    @model_validator(mode="after")
    def _made_here(self) -> Self:
        maker = "synthetic" if self.synthetic is not None else "download" if self.download is not None else None
        places = {
            f"{name}.{key}": path
            for name, split in self.splits().items()
            for key, path in split
            if maker == "synthetic" or key != "detections"
        }
        if self.download is not None:
            places["download.folder"] = self.download.folder
        for key, path in places.items() if maker else ():
            if path is not None and "://" in path:
                raise ValueError(
                    f"{key}: {path} is in a bucket, but `{maker}` puts the data on this machine; name a path, or leave `{maker}` "
                    "out and put the data into the bucket yourself"
                )
        return self

    @model_validator(mode="after")
    def _downloaded(self) -> Self:
        if self.download is None:
            return self
        if self.synthetic is not None:
            raise ValueError("synthetic and download exclude each other: a data set is made or got")
        folder = Path(self.download.folder)
        got = {folder / member for archive in self.download.archives.values() for member in archive.members}
        for name, split in self.splits().items():
            for key, path in (("images", split.images), ("annotations", split.annotations)):
                if Path(path) not in got:
                    raise ValueError(
                        f"{name}.{key}: {path} is not among what `download` brings ({', '.join(sorted(map(str, got)))}); "
                        "correct the path or download.folder, or leave `download` out when the files lie elsewhere"
                    )
        return self

    @field_validator("keypoints", mode="before", json_schema_input_type=Literal["coco", "posetrack"] | KeypointSchema)
    @classmethod
    def _builtin(cls, value: Any) -> Any:
        return BUILT_IN[value] if isinstance(value, str) and value in BUILT_IN else value


class ConversionSettings(Section):
    """How annotations become TFRecord shards (Apache Beam)."""

    runner: str = Field(
        FN_API_RUNNER,
        description="Beam runner, such as FnApiRunner (this machine), DaskRunner, DataflowRunner; its options go into `options`.",
    )
    mode: Literal["in_memory", "multi_threading", "multi_processing"] = Field(
        "in_memory", description="How FnApiRunner runs its workers."
    )
    workers: Positive = Field(1, le=THREADS, description="Workers of multi_threading and multi_processing.")
    records: Literal["images", "crops"] = Field(
        "images", description="What a record holds: the whole image, or the part that the augmentation can reach."
    )
    crop_encoding: Literal["jpeg", "raw"] = Field("jpeg", description="How the pixels of crops are stored.")
    jpeg_quality: Annotated[int, Field(strict=True, ge=1, le=100)] | None = Field(
        None,
        description="Quality of crops that are stored as JPEG; null: crops that are not reduced lose less than 2 of 255 levels in the mean.",
    )
    crop_resolution: Annotated[float, Field(strict=True, ge=1, le=100)] = Field(
        4.0,
        description=(
            "Pixels of a crop record to one of the unscaled crop along each axis, at most; people who are larger are reduced. "
            "1: least room, but their scaled and turned crops lose more than 2 of 255 levels, 7 where all is grain."
        ),
    )
    shard_size: Positive = Field(1024, le=1_000_000, description="Examples in a shard.")
    options: tuple[str, ...] = Field(
        (), description="More options of Beam, for a runner's workers: [buckets](../workflow/docs/buckets.md)."
    )
    shards: Annotated[str, Field(pattern=NOT_ENDED)] | None = Field(
        None, description="Folder of the shards, a path or gs://; null: beside their manifests, in results/data/."
    )

    def runs_on(self, runner: str) -> bool:
        """Whether this is the Beam runner: `dask` and `DaskRunner` are one."""
        return f"{self.runner.lower().removesuffix('runner')}runner" == runner.lower()
