"""What the synthetic shop promises, in one place: articles and orders both read it."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Periods, fees and limits. Money in euro cents; days are calendar days unless named working.

    Articles use a field by its name in braces; a field ending in `_cents` stands as text with its
    currency under the name without `_cents`, e.g. `{delivery_fee}` is "4.95 EUR".
    """

    shop_name: str = "Cartwright Store"
    # Delivery, in working days.
    standard_days_least: int = 2
    standard_days_most: int = 4
    express_days: int = 1
    pickup_days: int = 3
    pickup_hold_days: int = 10
    delivery_fee_cents: int = 495
    express_fee_cents: int = 995
    pickup_fee_cents: int = 295
    free_delivery_from_cents: int = 4900
    bulky_fee_cents: int = 2995
    express_cutoff: str = "14:00"
    # Changing and cancelling.
    change_window_minutes: int = 60
    late_cancel_fee_cents: int = 350
    made_to_order_cancel_hours: int = 24
    # Returns and refunds.
    return_days: int = 30
    return_fee_cents: int = 295
    holiday_return_until: str = "31 January"
    refund_days: int = 5
    refund_card_days: int = 7
    refund_transfer_days: int = 3
    inspection_days: int = 2
    opened_food_days: int = 14
    # Payment.
    invoice_due_days: int = 14
    reminder_fee_cents: int = 250
    instalment_from_cents: int = 10_000
    instalment_months: int = 6
    cash_limit_cents: int = 50_000
    pay_later_days: int = 30
    payment_retry_hours: int = 48
    hold_release_days: int = 5
    # Vouchers.
    voucher_years: int = 3
    welcome_percent: int = 10
    welcome_min_cents: int = 3000
    gift_card_least_cents: int = 1000
    gift_card_most_cents: int = 25_000
    # Accounts.
    password_link_minutes: int = 30
    password_length: int = 10
    login_attempts: int = 5
    login_lock_minutes: int = 15
    delete_days: int = 30
    invoice_keep_years: int = 10
    confirm_link_hours: int = 24
    address_limit: int = 10
    # Products, reviews, contact.
    warranty_years: int = 2
    complaint_days: int = 3
    complaint_report_days: int = 7
    review_days: int = 2
    review_least_chars: int = 30
    review_points: int = 50
    phone: str = "0800 555 0142"
    email: str = "help@cartwright.example"
    phone_hours: str = "Monday to Friday 8:00 to 20:00 and Saturday 9:00 to 16:00"
    chat_hours: str = "every day from 7:00 to 22:00"
    email_hours: int = 24

    def delivery_fee_for(self, goods_cents: int, express: bool) -> int:
        """Delivery fee in cents of an order of that worth; express is never free."""
        if express:
            return self.express_fee_cents
        return 0 if goods_cents >= self.free_delivery_from_cents else self.delivery_fee_cents

    def texts(self) -> dict[str, str]:
        """Every field as text, money with its currency."""
        texts = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_cents"):
                texts[field.name.removesuffix("_cents")] = money(value)
            else:
                texts[field.name] = str(value)
        return texts


def money(cents: int) -> str:
    """Cents as text: "4.95 EUR", and "30 EUR" when there are no odd cents."""
    return f"{cents // 100} EUR" if cents % 100 == 0 else f"{cents / 100:.2f} EUR"


SHOP_POLICY = Policy()
