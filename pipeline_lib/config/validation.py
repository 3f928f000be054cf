"""What is done about images and annotations that are not what they should be, by what is wrong with them."""

from typing import Literal, get_args

from pydantic import Field

from pipeline_lib.config.fields import Section

Drop = Literal["fatal", "drop"]
DropOrRepair = Literal["fatal", "drop", "repair"]
DropOrAccept = Literal["fatal", "drop", "accept"]
Policy = Literal["fatal", "drop", "repair", "accept"]


class ValidationConfig(Section):
    """What is done about data that are not what they should be.

    `fatal` stops the run, `drop` goes on without the image, annotation or detection, `repair` puts it right, `accept` leaves
    it as it is; all but `fatal` are counted. Where a policy would have no meaning, it is refused.
    """

    malformed_image: Drop = Field(
        "fatal",
        description="An entry of `images` without integer id, file_name below the folder of images, or positive height and width.",
    )
    duplicate_image_id: Drop = Field("fatal", description="An id that an image before has; drop: the first one stays.")
    missing_image: Drop = Field("fatal", description="An image whose file is not there.")
    empty_image: Drop = Field("fatal", description="A file of zero bytes.")
    unreadable_image: Drop = Field("fatal", description="A file that is no image.")
    truncated_image: Drop = Field("fatal", description="An image whose pixels cannot be decoded to the end.")
    size_mismatch: DropOrRepair = Field(
        "fatal", description="An image of another size than its entry says; repair: the file's size counts."
    )
    cmyk_image: DropOrRepair = Field(
        "repair", description="Pixels of cyan, magenta, yellow and black; repair: read as 8-bit RGB."
    )
    sixteen_bit_image: DropOrRepair = Field(
        "repair", description="More than 8 bits a channel; repair: read as 8-bit RGB."
    )
    progressive_image: DropOrAccept = Field("accept", description="A progressive JPEG, which is read as any other.")
    exif_rotated_image: Policy = Field(
        "accept",
        description="An EXIF orientation that turns or mirrors; accept: the annotations are of the pixels as they are stored, "
        "as COCO's are; repair: they are of the picture as it is shown, so it is turned when it is read.",
    )
    malformed_annotation: Drop = Field(
        "fatal",
        description="An annotation without integer id, image_id or category_id, or with another iscrowd than 0 or 1.",
    )
    duplicate_annotation_id: DropOrRepair = Field(
        "fatal", description="An id that a person before has; drop: the first one stays; repair: a new id."
    )
    unknown_image: Drop = Field("fatal", description="An annotation whose image_id no image has.")
    other_category: Drop = Field("drop", description="An annotation or detection of another category than 1, person.")
    malformed_box: Drop = Field("fatal", description="A bbox that is not four numbers x, y, width, height.")
    box_outside: DropOrRepair = Field(
        "repair",
        description="A bbox that reaches out of its image; repair: the conversion cuts it, and filters those of which nothing "
        "is left.",
    )
    keypoint_length: Drop = Field(
        "fatal", description="Another number of keypoints than `keypoints` of the data set has names."
    )
    invalid_keypoint: DropOrRepair = Field(
        "fatal", description="A keypoint with NaN or what is no number; repair: it is not labelled."
    )
    invalid_visibility: DropOrRepair = Field(
        "fatal", description="A v other than 0, 1 or 2; repair: rounded up, and cut to 0 and 2."
    )
    missing_area: DropOrRepair = Field("repair", description="An annotation without area; repair: that of its bbox.")
    invalid_area: DropOrRepair = Field(
        "fatal", description="An area that is NaN, negative or no number; repair: that of the bbox."
    )
    malformed_detection: Drop = Field(
        "fatal", description="A detection without integer image_id and category_id, four numbers as bbox, and a score."
    )
    detection_of_unknown_image: Drop = Field(
        "drop", description="A detection whose image_id the annotations do not list."
    )


def allowed(kind: str) -> tuple[str, ...]:
    """The policies that a kind can have."""
    return get_args(ValidationConfig.model_fields[kind].annotation)
