"""Sentences that pages say of what was done or went wrong, in English / in Chinese."""

from collections.abc import Mapping

from services.intake.portal.views import N_

NOTICES = {
    "saved": N_("Saved. Keep the address of this page: with it you can go on later."),
    "added": N_("We have it, and the agency will see it."),
    "withdrawn": N_("You have taken the case back. It takes a moment until it stands below."),
    "link": N_("We send you the link, to the address of this case."),
    "link_already": N_("The link was sent today already. Look for it, or ask again tomorrow."),
    "anew": N_("Your draft had expired. What you typed is here, in a new one; look for files."),
}
CHANGED = N_("The form was changed in another window; look at it once more.")
TOO_OFTEN = N_(
    "Too many wrong tries. Wait a quarter of an hour, or call 1999; your case goes on meanwhile."
)
NOT_YOURS = N_("No case has this number and this password.")
COME_AGAIN = N_("You were away for two hours: give number and password once more.")
ENDED = N_("The case has come to its end; nothing can be added any more.")
NO_CLERK = N_("Nobody has signed this token, or it is half a day old.")
NO_SERVICE = N_("There is no such service, or it is closed.")
TOO_LONG = N_("{n} characters; at most {most} fit here.")
NOTHING = N_("Write something, or choose a document.")
SURE = N_("Tick the box if you want to take the case back.")
TOO_LATE = N_("The case cannot be taken back any more.")
TOO_MANY_LINKS = N_(
    "Links were sent there several times within the hour. Look for them, or wait a little."
)
NO_WAY = N_("This case has neither an e-mail address nor a mobile number. Call 1999.")
AGREE = N_("Tick the box below: the city may only begin when you say so.")
UNREACHABLE = N_(
    "We must send you a link to confirm with: give an e-mail address or a mobile number."
)
_UPLOADS = {
    "upload.empty": ("the file is empty", "檔案是空的"),
    "upload.too_large": (
        "the file is larger than {limit_mb} MB; send a smaller scan",
        "檔案超過 {limit_mb} MB,請縮小後再上傳",
    ),
    "upload.too_many": ("no more documents fit here", "上傳的文件已達上限"),
    "upload.type_not_allowed": (
        "only PDF, JPEG and PNG can be taken; save it as one of these",
        "只接受 PDF、JPEG、PNG,請轉存後再上傳",
    ),
    "upload.type_differs": (
        "the file is of another kind than its name says; save it anew",
        "檔案內容與副檔名不符，請重新存檔後再上傳",
    ),
    "upload.damaged": (
        "the file is damaged; open it, save it anew and send that",
        "檔案損壞，請重新存檔後再上傳",
    ),
    "upload.too_many_pages": (
        "the file has more than {limit_pages} pages; send it in parts",
        "檔案超過 {limit_pages} 頁，請分次上傳",
    ),
    "upload.image_too_large": (
        "the picture has more than {limit_megapixels} megapixels; make it smaller",
        "圖片超過 {limit_megapixels} 百萬像素，請縮小後再上傳",
    ),
    "upload.encrypted": (
        "the file is locked with a password; save it without one",
        "檔案有密碼保護，請移除密碼後再上傳",
    ),
    "upload.active_content": (
        "the file holds programs or other files; print it into a new PDF and send that",
        "檔案含有程式或夾帶其他檔案，請另存為一般 PDF 後再上傳",
    ),
    "upload.too_slow": (
        "the file takes too long to look through; print it into a new PDF and send that",
        "檔案檢查時間過長，請另存為一般 PDF 後再上傳",
    ),
}


def upload(code: str, values: Mapping[str, object]) -> str:
    """What is wrong with an uploaded file, as "English / Chinese"."""
    en, zh = _UPLOADS.get(code, _UPLOADS["upload.damaged"])
    return f"{en.format_map(_Said(values))} / {zh.format_map(_Said(values))}"


class _Said(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return "?"
